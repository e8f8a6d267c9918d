"""A codec that counts, frames and sessions for it."""

import asyncio
import struct
from collections.abc import Callable, Sequence

from common.codec.frame_state import DecodedFrame, EncodedFrame
from common.errors import MalformedPacket, MissingReference
from common.frames import Camera, LabelFrame
from receiver.link.refusals import SessionOwner
from receiver.link.session import Session

MODEL = b"\x01" * 8
SESSION = b"\x02" * 16
SECRET = b"\x03" * 32


class CountingCodec:
    """Messages as (reference, sequences): decodes exactly if the reference was decoded before, as the real codec does.

    Attributes:
        encoded: the last frame of each message, and its reference.
    """

    _HEAD, _SEQUENCE = struct.Struct(">4sq"), struct.Struct(">q")
    needed_from = 0

    def __init__(self) -> None:
        self.encoded: list[tuple[int, int]] = []
        self._last = -1
        self._sent: set[int] = set()
        self._reference = self._expected = -1
        self._received: set[int] = set()

    def offered(self, frame: LabelFrame) -> None: ...

    def encode(self, *frames: LabelFrame) -> EncodedFrame:
        frame = frames[-1]
        if frames[0].sequence <= self._last:
            raise ValueError(f"frame {frames[0].sequence} after {self._last}")
        self._last = frame.sequence
        self._sent.add(frame.sequence)
        reference = max(self._reference, self._expected)
        self.encoded.append((frame.sequence, reference))
        sequences = b"".join(self._SEQUENCE.pack(each.sequence) for each in frames)
        payload, found = self._HEAD.pack(b"BWct", reference) + sequences, None if reference < 0 else reference
        return EncodedFrame(payload, {}, 0.0, 0, found is None, frame.sequence, found)

    def acknowledge(self, sequence: int) -> None:
        if sequence in self._sent:
            self._reference = max(self._reference, sequence)

    def expect(self, sequence: int) -> None:
        self._expected = sequence

    def rewind(self) -> None:
        self._expected = -1

    def decode_bundle(self, payload: bytes, sequences: Sequence[int]) -> list[DecodedFrame]:
        rest = payload[self._HEAD.size :]
        if not payload.startswith(b"BWct") or not rest or len(rest) % self._SEQUENCE.size:
            raise MalformedPacket("not a counted frame")
        _, reference = self._HEAD.unpack_from(payload)
        coded = [sequence for (sequence,) in self._SEQUENCE.iter_unpack(rest)]
        if coded != list(sequences):
            raise MalformedPacket(f"frames {sequences} have the payload of frames {coded}")
        if reference >= 0 and reference not in self._received:
            raise MissingReference(f"frame {reference} was never decoded here")
        self._received.add(coded[-1])
        found = None if reference < 0 else reference
        return [DecodedFrame(label_frame(sequence), found, {}, {}) for sequence in coded]

    def keep_only(self, sequence: int) -> None:
        self._received &= {sequence}

    def snapshot(self) -> bytes:
        return b""

    def restore(self, snapshot: bytes) -> None: ...

    def reset(self) -> None:
        self._sent.clear()
        self._received.clear()
        self._reference = self._expected = -1
        self._last = -1


def new_session(account: str = "ipv4:127.0.0.1", *, live: bool = False) -> Session:
    """A session of a sender that proves no identity."""
    return Session(SESSION, "test", live, owner=SessionOwner.from_secret("", SECRET), account=account)


def label_frame(sequence: int) -> LabelFrame:
    """A frame without people."""
    return LabelFrame(sequence, "fake", 1.0 + sequence, Camera(64, 64, 64.0), ())


async def until(condition: Callable[[], bool]) -> None:
    """Gives other tasks and threads their turns until a condition holds, for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Runs every task until it waits for time or for the test."""
    for _ in range(50):
        await asyncio.sleep(0)
