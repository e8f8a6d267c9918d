"""Message dataclasses of the protocol, and their conversion to and from the bytes of a gRPC message.

Protobuf is used only here and in the modules that this one imports. The constructors check sizes, ranges and required
fields and raise `MalformedPacket`, for messages that were received and for those about to be sent.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from common.errors import MalformedPacket
from common.text import printable
from common.wire import semantic_link_pb2 as pb
from common.wire.datagrams import Datagrams, is_compact
from common.wire.frame_messages import MAX_BLOB_BYTES as MAX_BLOB_BYTES
from common.wire.frame_messages import MAX_PAYLOAD_BYTES as MAX_PAYLOAD_BYTES
from common.wire.frame_messages import MAX_REASON_CHARACTERS as MAX_REASON_CHARACTERS
from common.wire.frame_messages import MAX_SEQUENCE as MAX_SEQUENCE
from common.wire.frame_messages import MAX_TIME_NS as MAX_TIME_NS
from common.wire.frame_messages import MAX_TIME_US as MAX_TIME_US
from common.wire.frame_messages import MAX_WINDOW as MAX_WINDOW
from common.wire.frame_messages import NO_SEQUENCE as NO_SEQUENCE
from common.wire.frame_messages import Acknowledgement as Acknowledgement
from common.wire.frame_messages import Acknowledgements as Acknowledgements
from common.wire.frame_messages import AckStatus as AckStatus
from common.wire.frame_messages import FrameMessage as FrameMessage
from common.wire.frame_messages import (
    Position,
    SenderReport,
    acknowledgements_from_proto,
    acknowledgements_to_proto,
    frame_from_proto,
    frame_to_proto,
    report_from_proto,
    report_to_proto,
    require,
    require_blob,
    require_blob_bytes,
    require_sequence,
    require_times,
)

PROTOCOL_VERSION = 5
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# No valid message is longer; to parse a longer one could cost 30 times its size in memory.
MAX_PARSED_BYTES = 128 * 1024
SESSION_ID_BYTES = 16
SESSION_SECRET_BYTES = 32
MAX_NAME_CHARACTERS = 128
MAX_HASH_BYTES = 64
MAX_PADDING_BYTES = 16_384
MAX_CHUNK_BYTES = 16_384
MAX_KIND_CHARACTERS = 32

STREAM_SERVICE = pb.DESCRIPTOR.services_by_name["SemanticLink"].full_name
STREAM_METHOD = "Stream"


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a stream, from the sender.

    Args:
        session_id: 16 random bytes, the same again when the sender resumes.
        sender: a printable name for logs.
        codec_version: must equal the receiver's.
        model_hash: identifies codec tables and weights; must equal the receiver's.
        live: the sender drops stale frames; otherwise no frame may be lost.
        resume: the sender was connected in this session before.
        resume_from: the first unacknowledged sequence.
        durable: the receiver acknowledges a frame only when it is on disk; no live session is.
        protocol_version: must equal the receiver's.
        session_secret: 32 random bytes made with the session id.
        timely: no filter delays the labels: none is smoothed, or they know the frames after them.
    """

    session_id: bytes
    sender: str
    codec_version: int
    model_hash: bytes
    live: bool
    resume: bool = False
    resume_from: int = 0
    durable: bool = False
    protocol_version: int = PROTOCOL_VERSION
    session_secret: bytes = field(kw_only=True, repr=False)
    timely: bool = False

    def __post_init__(self) -> None:
        require(len(self.session_id) == SESSION_ID_BYTES, f"a session id has {SESSION_ID_BYTES} bytes")
        require(len(self.sender) <= MAX_NAME_CHARACTERS, f"a name has at most {MAX_NAME_CHARACTERS} characters")
        require(self.sender.isprintable(), "a name is printable")
        require(1 <= len(self.model_hash) <= MAX_HASH_BYTES, f"a model hash has 1 to {MAX_HASH_BYTES} bytes")
        require(0 <= self.codec_version < 2**32, "a codec version fits 32 bits")
        require(0 <= self.protocol_version < 2**32, "a protocol version fits 32 bits")
        require_sequence(self.resume_from)
        require(not (self.live and self.durable), "a live session may lose frames: it is not durable")
        require(len(self.session_secret) == SESSION_SECRET_BYTES, f"a session secret has {SESSION_SECRET_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Welcome:
    """The receiver's answer to `Hello`.

    Args:
        accepted: whether the session is accepted; if not, `reason` has the cause.
        model_hash: the receiver's.
        next_sequence: one after the last frame of this session that was decoded; 0 if none was.
        window: most unacknowledged frames.
        resumed: the receiver still has the decoder state of this session.
        decodable_from: the sequence of that state, `NO_SEQUENCE` if there is none.
        token_unchecked: the sender has presented a token, and the receiver has no list of tokens.
    """

    accepted: bool
    model_hash: bytes
    reason: str = ""
    next_sequence: int = 0
    window: int = 2
    resumed: bool = False
    decodable_from: int = NO_SEQUENCE
    token_unchecked: bool = False

    def __post_init__(self) -> None:
        require(1 <= len(self.model_hash) <= MAX_HASH_BYTES, f"a model hash has 1 to {MAX_HASH_BYTES} bytes")
        require(len(self.reason) <= MAX_REASON_CHARACTERS, f"a reason has at most {MAX_REASON_CHARACTERS} characters")
        require(1 <= self.window <= MAX_WINDOW, f"a window has 1 to {MAX_WINDOW} frames")
        require_sequence(self.next_sequence)
        require_sequence(self.decodable_from, optional=True)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A keepalive; the receiver echoes it at once, also during reconstruction.

    Args:
        sent_ns: the sender's clock.
        received_ns: the receiver's clock, in its echo; 0 from the sender.
        clock_offset_ns: the receiver's clock minus the sender's, as estimated by the sender.
        clock_error_ns: error bound of the offset; 0 while it is unknown.
        padding: enlarges the messages of a packet train; the echo leaves it out.
    """

    sent_ns: int
    received_ns: int = 0
    clock_offset_ns: int = 0
    clock_error_ns: int = 0
    padding: bytes = b""

    def __post_init__(self) -> None:
        require_times(self.sent_ns, self.received_ns, abs(self.clock_offset_ns), self.clock_error_ns)
        require(len(self.padding) <= MAX_PADDING_BYTES, f"at most {MAX_PADDING_BYTES} bytes of padding")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a blob, sent in the gaps between frames.

    Args:
        blob: number of the blob within a session, from 1.
        offset: position of `data`, right behind the chunk before.
        kind, key, total, checksum: in the first chunk only: the blob's kind and key, its size, its CRC-32.
    """

    blob: int
    offset: int
    data: bytes
    kind: str = ""
    key: int = 0
    total: int = 0
    checksum: int = 0

    def __post_init__(self) -> None:
        require_blob(self.blob)
        require(1 <= len(self.data) <= MAX_CHUNK_BYTES, f"a chunk has 1 to {MAX_CHUNK_BYTES} bytes")
        require_blob_bytes(self.offset, self.total)
        require(len(self.kind) <= MAX_KIND_CHARACTERS, f"a kind has at most {MAX_KIND_CHARACTERS} characters")
        require(self.kind.isprintable(), "a kind is printable")
        require(0 <= self.key < 2**32 and 0 <= self.checksum < 2**32, "keys and checksums fit 32 bits")
        first = self.offset == 0
        require(
            first == bool(self.total) == bool(self.kind),
            "the first chunk of a blob, and no other, has its kind and size",
        )


@dataclass(frozen=True, slots=True)
class ChunkAck:
    """The receiver's answer to a chunk.

    Args:
        held: number of the blob's bytes, from the first on, that have arrived.
    """

    blob: int
    held: int

    def __post_init__(self) -> None:
        require_blob(self.blob)
        require_blob_bytes(self.held)


@dataclass(frozen=True, slots=True)
class Drain:
    """From the sender: no more frames follow. From the receiver: it takes no more frames on this stream."""


ClientMessage = Hello | FrameMessage | Heartbeat | Drain | Chunk | SenderReport
ServerMessage = Welcome | Acknowledgements | Heartbeat | Drain | ChunkAck
_MessageT = TypeVar("_MessageT")


class _Messages(Generic[_MessageT]):
    """The messages of one direction of a stream; each end has an instance.

    Frames and acknowledgements are relative to those before: they are decoded in the order in which they were encoded.

    Args:
        datagrams: some may not arrive, or in another order, and this codes them; others as the first of a stream.
    """

    _whole: type[Any]

    def __init__(self, datagrams: Datagrams | None = None) -> None:
        self._datagrams = datagrams
        self._position = Position()

    def encode(self, message: _MessageT) -> bytes:
        """Serialises the next message."""
        if self._datagrams is not None and (compact := self._datagrams.encode(message)) is not None:
            return compact
        part: Any
        position = self._position
        match message:
            case FrameMessage():
                part, position = {"frame": frame_to_proto(message, position)}, position.behind(message.sequence)
            case Acknowledgements():
                coded, position = acknowledgements_to_proto(message, position)
                part = {"acknowledgements": coded}
            case SenderReport():
                part = {"report": report_to_proto(message)}
            case _:
                part = _to_proto(message)
        self._advance(position)
        return bytes(self._whole(**part).SerializeToString())

    def decode(self, data: bytes) -> _MessageT:
        """The inverse of `encode`.

        Raises:
            MalformedPacket: the bytes are not such a message, or a field is out of range. What follows is decoded as if
                the message had not been there.
        """
        message: Any
        if self._datagrams is not None and is_compact(data):
            from_sender = self._whole is pb.ClientMessage
            read = self._datagrams.decode_frame if from_sender else self._datagrams.decode_answers
            return cast(_MessageT, read(data))
        whole, position = _parse(self._whole(), data), self._position
        match whole.WhichOneof("kind"):
            case "frame":
                message = frame_from_proto(whole.frame, position)
                position = position.behind(message.sequence)
                if self._datagrams is not None:
                    self._datagrams.received(message)
            case "acknowledgements":
                message, position = acknowledgements_from_proto(whole.acknowledgements, position)
                if self._datagrams is not None:
                    self._datagrams.answered(message)
            case "report":
                message = report_from_proto(whole.report)
            case kind:
                message = _from_proto(whole, kind)
        self._advance(position)
        return cast(_MessageT, message)

    def _advance(self, position: Position) -> None:
        if self._datagrams is None:
            self._position = position


class ClientMessages(_Messages[ClientMessage]):
    """From sender to receiver."""

    _whole = pb.ClientMessage


class ServerMessages(_Messages[ServerMessage]):
    """From receiver to sender."""

    _whole = pb.ServerMessage


def encode_client(message: ClientMessage) -> bytes:
    """Serialises a message from sender to receiver, a frame as the first of its stream."""
    return ClientMessages().encode(message)


def decode_client(data: bytes) -> ClientMessage:
    """The inverse of `encode_client`; see `ClientMessages.decode`."""
    return ClientMessages().decode(data)


def encode_server(message: ServerMessage) -> bytes:
    """Serialises a message from receiver to sender, an acknowledgement as the first of its stream."""
    return ServerMessages().encode(message)


def decode_server(data: bytes) -> ServerMessage:
    """The inverse of `encode_server`; see `ServerMessages.decode`."""
    return ServerMessages().decode(data)


def _parse(message: Any, data: bytes) -> Any:
    if len(data) > MAX_PARSED_BYTES:
        raise MalformedPacket(f"a message of {len(data)} bytes; messages have up to {MAX_PARSED_BYTES}")
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MalformedPacket("a message is not in Bodywire's protocol") from error
    return message


# Messages whose dataclass has the fields of their protobuf, by the field of the whole message that holds them.
_ALIKE: dict[str, tuple[type[Any], type[Message]]] = {
    "hello": (Hello, pb.Hello),
    "welcome": (Welcome, pb.Welcome),
    "heartbeat": (Heartbeat, pb.Heartbeat),
    "drain": (Drain, pb.Drain),
    "chunk": (Chunk, pb.Chunk),
    "chunk_ack": (ChunkAck, pb.ChunkAck),
}
_NAMES = {kind: tuple(item.name for item in fields(ours)) for kind, (ours, _) in _ALIKE.items()}
_KINDS = {ours: kind for kind, (ours, _) in _ALIKE.items()}


def _to_proto(message: Any) -> dict[str, Any]:
    kind = _KINDS[type(message)]
    return {kind: _ALIKE[kind][1](**{name: getattr(message, name) for name in _NAMES[kind]})}


def _from_proto(message: Any, kind: str | None) -> Any:
    """The inverse of `_to_proto`; a `reason` becomes printable, so that it may be logged."""
    if kind not in _ALIKE:
        raise MalformedPacket("a message is of an unknown kind")
    part = getattr(message, kind)
    values = {name: getattr(part, name) for name in _NAMES[kind]}
    if "reason" in values:
        values["reason"] = printable(values["reason"], MAX_REASON_CHARACTERS)
    return _ALIKE[kind][0](**values)
