"""Hostile but well-formed packets and messages: right checksums and valid protobuf around absurd content.

Every generator is infinite and a pure function of its rng.  Packets are built with the codec's own layout functions, so
that most of them pass the checks of form and reach the checks of content.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import zstandard

from common.arrays import IntArray
from common.blobs import FACE, SIGNAL, TEXTURE, WEARS
from common.codec.frame_codec import FrameCodec, _Content
from common.codec.frame_state import Coded, FrameReferences, FrameState, to_frame
from common.codec.packet import References, Scene, code_references, follow, seal
from common.codec.person import PersonState
from common.codec.range_coder import SymbolCoder, SymbolWriter
from common.codec.tables import ALPHABET
from common.errors import MalformedPacket
from common.frames import MAX_AHEAD_STEPS, Camera, check_frame
from common.texture.face_picture import FaceVideoEncoder
from common.wire import semantic_link_pb2 as pb
from tests.netlab.hostile.fuzz import mutated

T = TypeVar("T")

TEXTS: Final = (
    *("", "clip.mp4", "\x00", "two\nlines", "\r\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "\u2066\u2069\u200b\ufeff"),
    *("\u2028\u2029\x85", "😀" * 60, "é" * 127, "../../../etc/passwd", "%s%n{0}", '"}\\', "a" * 255, "\ud7ff\ue000"),
    *("\U000e0001\U0010ffff", "Z\u0351\u0352\u0353" * 30, "NaN", "\t" * 8, "</script>"),
)
FLOATS: Final = (
    *(600.0, 1.0, 0.0, -0.0, 1e-45, 1.2e-38, 1e-6, 0.999, 999_999.0, 1e9, 3.4e38),
    *(-600.0, float("inf"), -float("inf"), float("nan")),
)
COUNTS: Final = (
    *(0, 1, 2, 3, 63, 64, 65, 127, 128, 255, 256, 16_384, 65_535, 65_536, 65_537, 2**20, 2**20 + 1, 2**31 - 1, 2**31),
    *(2**32 - 1, 2**32, 2**40, 2**52, 2**53 - 2, 2**53 - 1, 2**53, 2**60, 2**62 - 1, 2**62, 2**62 + 1, 2**63 - 1),
)
TIMES_NS: Final = (*COUNTS, 1_700_000_000 * 10**9, 4_102_444_800 * 10**9)
RESIDUALS: Final = (0, 0, 0, 1, -1, 24, -24, 25, -25, 1000, -1000, 2**16, -(2**16), 2**22, -(2**22), 2**24, -(2**24))
_REMEMBERED: Final = 8
_NOW_MS: Final = 1_800_000_000_000


class HostilePacket(NamedTuple):
    """A packet, and the sequence numbers of the message around it."""

    sequence: int
    payload: bytes
    earlier: tuple[int, ...] = ()

    @property
    def sequences(self) -> tuple[int, ...]:
        return *self.earlier, self.sequence


def hostile_frames(rng: np.random.Generator, codec: FrameCodec) -> Iterator[HostilePacket]:
    """Packets of absurd content with right checks.

    Some are predicted from an earlier one of this generator, so a decoder has to see them in order.

    Args:
        codec: of the receiver's model and tables; it is not changed.
    """
    hostile = _HostileCodec(codec)
    known: list[FrameState] = []
    last = 0
    while True:
        last += int(rng.integers(1, 4))
        sequence = last if rng.random() > 0.05 else _pick(rng, COUNTS)
        # Leaps that a receiver accepts are the new beginning; behind them it would take frames for duplicates.
        last = max(last, sequence) if sequence < 2**32 else last
        earlier = _earlier(rng, sequence) if rng.random() < 0.2 else ()
        possible = follow((*earlier, sequence)) and min((*earlier, sequence)) >= 0
        written = (*earlier, sequence) if possible else (sequence,)
        payload, state = _packet(rng, hostile, written, _references(rng, known, written[0]))
        yield HostilePacket(sequence, payload, earlier)
        if state is not None and possible:
            known = [*known, state][-_REMEMBERED:]


def hostile_messages(rng: np.random.Generator) -> Iterator[bytes]:
    """Messages from a sender with fields at and beyond their limits; valid protobuf, except one in sixteen."""
    yield from _messages(rng, _CLIENT_KINDS)


def hostile_answers(rng: np.random.Generator) -> Iterator[bytes]:
    """Messages from a receiver with fields at and beyond their limits; valid protobuf, except one in sixteen."""
    yield from _messages(rng, _SERVER_KINDS)


def hostile_blobs(rng: np.random.Generator) -> Iterator[bytes]:
    """Content of `colours` blobs: bombs, truncations, and zstandard frames of random bytes."""
    contents = (
        lambda: bytes(int(rng.integers(0, 2**17))),
        lambda: bytes(2**26),
        lambda: rng.bytes(int(rng.integers(0, 16_384))),
        lambda: b"\xff" * (256 + 6 * 2048),
        lambda: b"\xff" * 256 + rng.bytes(6 * 2048),
    )
    while True:
        compressor = zstandard.ZstdCompressor(level=1, write_content_size=bool(rng.integers(2)))
        packed = compressor.compress(_pick(rng, contents)())  # type: ignore[no-untyped-call]
        cut = int(rng.integers(len(packed))) if rng.random() < 0.2 else len(packed)
        yield bytes([1 if rng.random() < 0.9 else int(rng.integers(256))]) + packed[:cut]


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _earlier(rng: np.random.Generator, sequence: int) -> tuple[int, ...]:
    """Other frames of a bundle; now and then not in order, too many, or too far apart."""
    absurd = rng.random() < 0.2
    steps = rng.integers(-1 if absurd else 1, 30 if absurd else 9, size=int(rng.integers(1, 12 if absurd else 8)))
    return tuple((sequence - steps[::-1].cumsum()[::-1]).tolist())


def _references(rng: np.random.Generator, known: Sequence[FrameState], sequence: int) -> FrameReferences:
    earlier = [state for state in known if 0 < sequence - state.sequence < 2**20]
    if not earlier or rng.random() < 0.5:
        return FrameReferences()
    first = _pick(rng, earlier)
    before = [state for state in earlier if state.sequence < first.sequence]
    return FrameReferences(first, _pick(rng, before) if before and rng.random() < 0.7 else None)


def _time_ms(rng: np.random.Generator, reference: FrameState | None) -> int:
    if rng.random() < 0.1:
        return _pick(rng, TIMES_NS) * _pick(rng, (1, -1)) // _pick(rng, (1, 1, 1000, 10**6))
    return reference.clock.time_ms + 33 if reference else _NOW_MS


def _scene(rng: np.random.Generator, reference: FrameState | None) -> Scene:
    if reference is not None and rng.random() < 0.5:
        return reference.scene
    width, height = (640, 480) if rng.random() < 0.9 else (int(rng.integers(1, 65_537)), 65_536)
    focal = 600.0 if rng.random() < 0.9 else _pick(rng, FLOATS)
    people = int(rng.choice([0, 1, 1, 1, 2, 3, 32, 33, 63], p=[0.05, 0.3, 0.2, 0.2, 0.1, 0.05, 0.06, 0.02, 0.02]))
    identities = rng.permutation(256)[:people]
    if people > 1 and rng.random() < 0.1:
        identities[-1] = identities[0]
    source = _pick(rng, TEXTS) if rng.random() < 0.3 else "clip.mp4"
    return Scene(
        Camera(width, height, focal), source.encode()[:255].decode(errors="ignore"), tuple(identities.tolist())
    )


class _HostileCodec(FrameCodec):
    """A codec whose writer chooses everything about the people."""

    def __init__(self, codec: FrameCodec) -> None:
        super().__init__(bytes(8), codec._tables)
        self._hash = codec._hash

    def _code_person(
        self,
        coder: SymbolCoder,
        coded: Coded,
        lag: int,
        before: PersonState,
        content: _Content | None,
        number: int,
    ) -> PersonState:
        return super()._code_person(coder, coded, lag, before, None, number)


class _AbsurdWriter(SymbolWriter):
    """Writes symbols at random where it is not given any, many of them at the ends of their range."""

    def __init__(self, rng: np.random.Generator, codec: FrameCodec) -> None:
        super().__init__(codec._tables)
        self._rng = rng
        self._rare = _pick(rng, (0.0, 0.02, 0.5))
        self._wild = _pick(rng, (0.0, 0.0, 0.0, 0.05, 1.0))

    def rare_flag(self, value: bool | None) -> bool:
        return super().rare_flag(bool(self._rng.random() < self._rare) if value is None else value)

    def uniform(self, value: int | None, size: int) -> int:
        return super().uniform(int(self._rng.integers(size)) if value is None else value, size)

    def choice(self, value: int | None, weights: tuple[int, ...]) -> int:
        return super().choice(int(self._rng.integers(len(weights))) if value is None else value, weights)

    def number(self, value: int | None) -> int:
        return super().number(_pick(self._rng, COUNTS[:20]) if value is None else value)

    def residuals(self, scale: IntArray, shift: IntArray, values: IntArray | None) -> IntArray:
        if values is None:
            wild = self._rng.random(scale.size) < self._wild
            values = np.where(wild, self._rng.choice(RESIDUALS, scale.size), self._rng.integers(-3, 4, scale.size))
        return super().residuals(scale, shift, values.astype(np.int64))


def _packet(
    rng: np.random.Generator, codec: _HostileCodec, sequences: Sequence[int], references: FrameReferences
) -> tuple[bytes, FrameState | None]:
    """A packet, and the state of a decoder that has accepted it; None if it cannot be accepted."""
    writer = _AbsurdWriter(rng, codec)
    time_ms = min(max(_time_ms(rng, references.first), -(2**61)), 2**61)
    content = _Content(time_ms, int(rng.integers(MAX_AHEAD_STEPS + 1)), _scene(rng, references.first), (), ())
    absurd_lag = rng.random() < 0.03
    lags = references.lags(sequences[0])
    if absurd_lag:
        lags = References(1 + _pick(rng, COUNTS[:20]), int(rng.integers(3)))
    state = None
    code_references(writer, lags)
    try:
        contents = [content] * len(sequences) if rng.random() < 0.95 else None
        state = codec._code_bundle(writer, sequences, references, contents)[-1].state
    except MalformedPacket:
        absurd_lag = True
    body = writer.finish()
    damaged = rng.random() < 0.2
    if damaged:
        body = _pick(rng, (b"", rng.bytes(int(rng.integers(200))), bytes(1 << 17), body + b"\x00"))
    payload = seal(body, codec._seed(sequences, references))
    if damaged or absurd_lag or state is None:
        return payload, None
    try:
        check_frame(to_frame(state))
    except ValueError:
        return payload, None
    return payload, state


class _EscapeWriter(SymbolWriter):
    """Writes every entry as the longest escape code."""

    def rare_flag(self, value: bool | None) -> bool:
        return super().rare_flag(bool(value))

    def uniform(self, value: int | None, size: int) -> int:
        return super().uniform(0 if value is None else value, size)

    def residuals(self, scale: IntArray, shift: IntArray, values: IntArray | None) -> IntArray:
        return super().residuals(scale, shift, ((1 << 24) - 1 + ALPHABET) << shift)


def longest_to_decode(codec: FrameCodec, people: int = 32) -> bytes:
    """Key packet 0 that takes longest to decode for its form: every entry of everybody is the longest escape code."""
    scene = Scene(Camera(640, 480, 600.0), "clip.mp4", tuple(range(people)))
    content = _Content(_NOW_MS, 0, scene, (), ())
    writer = _EscapeWriter(codec._tables)
    return packet_of(_HostileCodec(codec), writer, 0, content)


def packet_of(codec: FrameCodec, writer: SymbolWriter, sequence: int, content: _Content) -> bytes:
    """The key packet of what a codec writes for `content`, whatever its ranges."""
    code_references(writer, References(0, 0))
    codec._code(writer, sequence, FrameReferences(), content)
    return seal(writer.finish(), codec._seed((sequence,), FrameReferences()))


def _count(rng: np.random.Generator) -> int:
    """A signed 64-bit number: at a limit, or small."""
    if rng.random() < 0.5:
        return int(rng.integers(-1, 100))
    return _pick(rng, COUNTS) * _pick(rng, (1, 1, 1, -1))


def _count32(rng: np.random.Generator) -> int:
    return min(abs(_count(rng)), 2**32 - 1)


def _bytes(rng: np.random.Generator, right_size: int | None = None) -> bytes:
    if right_size is not None and rng.random() < 0.8:
        return rng.bytes(right_size)
    return rng.bytes(_pick(rng, (0, 1, 8, 15, 16, 17, 64, 65, 1024, 16_384, 16_385)))


def _text(rng: np.random.Generator) -> str:
    return _pick(rng, TEXTS) * _pick(rng, (1, 1, 1, 10))


def _hello(rng: np.random.Generator) -> Any:
    numbers: dict[str, Any] = {
        "protocol_version": _count32(rng),
        "codec_version": _count32(rng),
        "resume_from": _count(rng),
        "session_secret": _bytes(rng, 32),
    }
    flags: dict[str, Any] = {name: bool(rng.integers(2)) for name in ("live", "resume", "durable")}
    hello = pb.Hello(session_id=_bytes(rng, 16), sender=_text(rng), model_hash=_bytes(rng, 8), **numbers, **flags)
    return pb.ClientMessage(hello=hello)


def _frame(rng: np.random.Generator) -> Any:
    frame = pb.Frame(gap=_count(rng), payload=_bytes(rng, 60), may_wait=bool(rng.integers(2)))
    if rng.random() < 0.3:
        frame.earlier = _count32(rng) if rng.random() < 0.3 else int(rng.integers(8))
        frame.left_out.extend([_count32(rng) for _ in range(int(rng.integers(9)))])
    if rng.random() < 0.3:
        frame.faces = rng.bytes(3) + _face(rng)[: int(rng.integers(1, 1100))]
    return pb.ClientMessage(frame=frame)


@cache
def _face_picture() -> bytes:
    return FaceVideoEncoder(64).encode(np.full((64, 64, 3), 90, np.uint8), 4000, key=True)


def _face(rng: np.random.Generator) -> bytes:
    """A picture of a face, mostly damaged."""
    return mutated(rng, [_face_picture()], 1)[0] if rng.random() < 0.8 else _face_picture()


def _heartbeat(rng: np.random.Generator) -> Any:
    names = ("sent_ns", "received_ns", "clock_offset_ns", "clock_error_ns")
    return pb.Heartbeat(padding=_bytes(rng, 0), **{name: _count(rng) for name in names})


def _chunk(rng: np.random.Generator) -> Any:
    names = ("blob", "offset", "key", "total", "checksum")
    numbers: dict[str, Any] = {name: _count32(rng) for name in names}
    kind = _pick(rng, ("", TEXTURE, WEARS, SIGNAL, _text(rng)))
    return pb.ClientMessage(chunk=pb.Chunk(data=_bytes(rng), kind=kind, **numbers))


def _colours(rng: np.random.Generator) -> Any:
    """A whole blob in one chunk, with the right checksum."""
    kind = _pick(rng, (TEXTURE, WEARS, FACE))
    made = {
        WEARS: lambda: rng.bytes(int(rng.integers(1, 16))),
        FACE: lambda: rng.bytes(1) + _face(rng),
        TEXTURE: lambda: next(hostile_blobs(rng))[:16_384],
    }
    data = made[kind]()
    number, key = int(rng.integers(1, 2**32)), int(rng.integers(300))
    chunk = pb.Chunk(blob=number, data=data, kind=kind, key=key, total=len(data), checksum=zlib.crc32(data))
    return pb.ClientMessage(chunk=chunk)


def _welcome(rng: np.random.Generator) -> Any:
    numbers: dict[str, Any] = {"next_sequence": _count(rng), "window": _count32(rng), "decodable_from": _count(rng)}
    names = ("accepted", "resumed", "token_unchecked")
    flags = {name: bool(rng.integers(2)) for name in names}
    welcome = pb.Welcome(reason=_text(rng), model_hash=_bytes(rng, 8), **numbers, **flags)
    return pb.ServerMessage(welcome=welcome)


def _acknowledgement(rng: np.random.Generator) -> Any:
    times = {"spacing_us": abs(_count(rng)), "hold_us": abs(_count(rng)), "clock_step_us": _count(rng)}
    status: Any = int(rng.integers(0, 5))
    return pb.Acknowledgement(gap=_count(rng), status=status, reason=_text(rng), **times)


def _acknowledgements(rng: np.random.Generator) -> Any:
    count = _pick(rng, (0, 1, 1, 1, 1, 2, 64, 65))
    frames = [_acknowledgement(rng) for _ in range(count)]
    return pb.ServerMessage(acknowledgements=pb.Acknowledgements(frames=frames))


_Kind = Callable[[np.random.Generator], Any]
_CLIENT_KINDS: Final[Sequence[_Kind]] = (
    *(_hello, _frame, _chunk, _colours),
    lambda rng: pb.ClientMessage(heartbeat=_heartbeat(rng)),
    lambda rng: pb.ClientMessage(report=pb.SenderReport(capacity_bps=_count32(rng) ** 2, codec_us=_count32(rng))),
    lambda _: pb.ClientMessage(drain=pb.Drain()),
)
_SERVER_KINDS: Final[Sequence[_Kind]] = (
    *(_welcome, _acknowledgements, _acknowledgements),
    lambda rng: pb.ServerMessage(heartbeat=_heartbeat(rng)),
    lambda rng: pb.ServerMessage(chunk_ack=pb.ChunkAck(blob=_count32(rng), held=_count32(rng))),
    lambda _: pb.ServerMessage(drain=pb.Drain()),
)


def _messages(rng: np.random.Generator, kinds: Sequence[_Kind]) -> Iterator[bytes]:
    while data := _pick(rng, kinds)(rng).SerializeToString():
        yield mutated(rng, [data], 1)[0] if rng.random() < 1 / 16 else data
