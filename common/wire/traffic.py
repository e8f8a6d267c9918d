"""Bytes on the link, by what they are for: those of messages, and those that the link adds to them.

The account of a link's bytes: what for, in both directions, down to the IP packets.

Messages are counted by purpose as they are written and read.  What carries them (gRPC, HTTP/2, TLS, TCP and IP,
retransmissions and pure acknowledgements) is measured: the kernel counts the bytes and segments of each connection.
Between two such readings, and where there are none, it is estimated from the messages.
"""

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from common.blobs import BLOB_KINDS, FACE
from common.clock import SYSTEM_CLOCK, Clock
from common.io.recent import RecentRate
from common.wire import semantic_link_pb2 as pb
from common.wire.convert import MAX_PARSED_BYTES
from common.wire.datagrams import compact_face_bytes, is_compact

# Messages that show what one takes, an acknowledgement of nine among them, and the weight of what was measured before.
_ENOUGH_MESSAGES: Final = 10
_SMOOTHING: Final = 0.6
# Everything else comes seldom: a mean over the last seconds.
_OTHER_S: Final = 10.0


class CarryingConnection(Protocol):
    """A connection that carries messages (`common.connections.TcpConnection`, `common.wire.quic`)."""

    @property
    def number(self) -> int:
        """Unique while the process runs."""

    @property
    def ip_bytes(self) -> int:
        """What it has carried in both directions, all headers included."""

    @property
    def ip_sent_bytes(self) -> int:
        """The part of this end."""


@dataclass(frozen=True, slots=True)
class MessageCost:
    """Of a message of labels, bytes on the link besides the labels.

    Args:
        sent: from the sender: headers, and TCP's or QUIC's acknowledgements of what comes back.
        answered: both ways: also its part of the receiver's acknowledgements.
        other_bps: bits per second of everything else, both ways.
    """

    sent: float
    answered: float
    other_bps: float


class CostMeter:
    """Measures between readings of the connections.

    Attributes:
        cost: None before it is known.
    """

    def __init__(self) -> None:
        self.cost: MessageCost | None = None
        self._since_s = 0.0
        self._from: Mapping[int, tuple[int, int]] = {}
        self._begin(0.0, ())

    def _begin(self, now_s: float, connections: Sequence[CarryingConnection]) -> None:
        self._since_s = now_s
        self._from = {each.number: (each.ip_sent_bytes, each.ip_bytes) for each in connections}
        self._messages = self._label_bytes = 0
        self._other_bytes = [0.0, 0.0]

    def count_labels(self, message_bytes: int) -> None:
        """Counts a message of labels."""
        self._messages += 1
        self._label_bytes += message_bytes

    def count_other(self, wire_bytes: float, *, sent: bool) -> None:
        """Counts a message that neither has labels nor answers them, with its headers."""
        self._other_bytes[sent] += wire_bytes

    def read(self, connections: Sequence[CarryingConnection], now_s: float) -> None:
        """Measures what was counted since the last reading, if enough was and these connections have carried it."""
        if not connections or any(each.number not in self._from for each in connections):
            self._begin(now_s, connections)
        elif self._messages >= _ENOUGH_MESSAGES and now_s > self._since_s:
            sent = sum(each.ip_sent_bytes - self._from[each.number][0] for each in connections)
            both = sum(each.ip_bytes - self._from[each.number][1] for each in connections)
            sent_besides, other = self._label_bytes + self._other_bytes[True], sum(self._other_bytes)
            found = (sent - sent_besides) / self._messages, (both - self._label_bytes - other) / self._messages
            self._add(*found, 8 * other, now_s - self._since_s)
            self._begin(now_s, connections)

    def _add(self, sent: float, answered: float, other_bits: float, span_s: float) -> None:
        sent, answered = max(sent, 0.0), max(answered, 0.0)
        old = self.cost or MessageCost(sent, answered, 0.0)
        self.cost = MessageCost(
            _smoothed(old.sent, sent, _SMOOTHING),
            _smoothed(old.answered, answered, _SMOOTHING),
            _smoothed(old.other_bps, other_bits / span_s, math.exp(-span_s / _OTHER_S)),
        )


def _smoothed(old: float, new: float, weight: float) -> float:
    return weight * old + (1 - weight) * new


LABELS: Final = "labels"
FACES: Final = BLOB_KINDS[FACE].purpose
ACKNOWLEDGEMENTS: Final = "acknowledgements"
HEARTBEATS: Final = "heartbeats"
PROBING: Final = "probing"
REPORTS: Final = "reports"
OTHER: Final = "other"
TRANSPORT: Final = "transport"
# By the number of the field of `ClientMessage` and `ServerMessage`.
_HEARTBEAT, _CHUNK = 3, 5
_FROM_SENDER: Final = {2: LABELS, _HEARTBEAT: HEARTBEATS, 6: REPORTS}
_FROM_RECEIVER: Final = {_HEARTBEAT: HEARTBEATS, 5: ACKNOWLEDGEMENTS, 6: ACKNOWLEDGEMENTS}
_OVERHEAD: Final = (ACKNOWLEDGEMENTS, HEARTBEATS, PROBING, REPORTS, OTHER, TRANSPORT)
PURPOSES: Final = (LABELS, *dict.fromkeys(kind.purpose for kind in BLOB_KINDS.values()), *_OVERHEAD)
"""What bytes are for: messages by what they carry, then what carries the messages."""

# Headers of gRPC and HTTP/2 around a message, and of TCP with time stamps and IP around each packet.
MESSAGE_HEADER_BYTES: Final = 18
_PACKET_HEADER_BYTES: Final = 52
_SEGMENT_BYTES: Final = 1448
_READING_INTERVAL_S: Final = 1.0
# Messages between two readings that show what one takes.
_ENOUGH_BETWEEN_READINGS: Final = 3


def wire_bytes(message_bytes: int) -> int:
    """Approximate size of a message on the link, headers included."""
    total = message_bytes + MESSAGE_HEADER_BYTES
    return total + _PACKET_HEADER_BYTES * math.ceil(total / _SEGMENT_BYTES)


class Traffic:
    """The bytes of one session, over any number of streams; any thread may read them.

    Args:
        on_bytes: called with a purpose and bytes, whenever they are counted.
    """

    def __init__(
        self, on_bytes: Callable[[str, int], None] = lambda purpose, size: None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._on_bytes = on_bytes
        self._clock = clock
        self._began_s: float | None = None
        self._recent, self._recent_content = RecentRate(), RecentRate()
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()
        self._connections: dict[int, int] = {}
        self._estimated_bytes = 0
        self._on_wire_bytes: Callable[[float, bool], None] = lambda size, labels: None
        self._messages, self._surplus_bytes = 0, 0.0
        self._cost = CostMeter()

    @property
    def total_bytes(self) -> int:
        """Everything so far, IP headers included."""
        with self._lock:
            return self._bytes.total() + self._estimated_bytes

    @property
    def recent_bps(self) -> float:
        """Everything in the last three seconds, bits per second."""
        with self._lock:
            # A correction may be of messages before them.
            return max(8 * self._recent.per_second(self._clock.monotonic()), 0.0)

    @property
    def recent_wrapping_bps(self) -> float:
        """Of `recent_bps` what is neither labels nor blobs: headers, encryption, acknowledgements, heartbeats."""
        with self._lock:
            now_s = self._clock.monotonic()
            return max(8 * (self._recent.per_second(now_s) - self._recent_content.per_second(now_s)), 0.0)

    @property
    def elapsed_s(self) -> float:
        """Since the first message."""
        return 0.0 if self._began_s is None else self._clock.monotonic() - self._began_s

    @property
    def mean_bps(self) -> float:
        """Everything since the first message, bits per second."""
        elapsed_s = self.elapsed_s
        return 8 * self.total_bytes / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def message_cost(self) -> MessageCost | None:
        """Of the sender's messages of labels; None before it was measured."""
        return self._cost.cost

    def by_purpose(self) -> Mapping[str, int]:
        """Bytes so far of each purpose that has any, `PURPOSES` in their order."""
        with self._lock:
            found = {**self._bytes, TRANSPORT: self._bytes[TRANSPORT] + self._estimated_bytes}
        return {purpose: found[purpose] for purpose in PURPOSES if found.get(purpose)}

    def summary(self) -> str:
        """The account in one line."""
        parts = ", ".join(f"{purpose} {size:,}" for purpose, size in self.by_purpose().items())
        return f"{self.total_bytes:,} bytes on the link ({parts})" if parts else "nothing on the link"

    def count(self, purpose: str, message_bytes: int, *, sent: bool = True, face_bytes: int = 0) -> None:
        """Counts a message, sent by this end or received; of one of labels, some bytes may be of a face's picture."""
        with self._lock:
            if purpose == LABELS:
                self._cost.count_labels(message_bytes)
            elif purpose != ACKNOWLEDGEMENTS:
                self._cost.count_other(wire_bytes(message_bytes) + self._surplus_bytes, sent=sent)
            self._bytes[purpose] += message_bytes - face_bytes
            self._bytes[FACES] += face_bytes
            self._estimated_bytes += wire_bytes(message_bytes) - message_bytes
            self._messages += 1
            if purpose not in _OVERHEAD:
                self._recent_content.add(message_bytes, self._clock.monotonic())
            self._add_recent(wire_bytes(message_bytes) + self._surplus_bytes, labels=purpose == LABELS)
        self._on_bytes(purpose, message_bytes - face_bytes)
        if face_bytes:
            self._on_bytes(FACES, face_bytes)

    def measured(self, connections: Sequence[CarryingConnection]) -> None:
        """Takes a reading of the connections that carry the session now; none if the system does not tell."""
        with self._lock:
            transport = self._bytes[TRANSPORT] + self._estimated_bytes
            self._cost.read(connections, self._clock.monotonic())
            known = self._connections.keys() >= {connection.number for connection in connections}
            self._connections |= {connection.number: connection.ip_bytes for connection in connections}
            if connections:
                messages = self._bytes.total() - self._bytes[TRANSPORT]
                transport = max(sum(self._connections.values()) - messages, self._bytes[TRANSPORT])
            more = transport - self._bytes[TRANSPORT]
            self._correct(more - self._estimated_bytes, learn=known and bool(connections))
            self._bytes[TRANSPORT], self._estimated_bytes = transport, 0
        self._on_bytes(TRANSPORT, more)

    def _correct(self, surplus_bytes: float, *, learn: bool) -> None:
        """Corrects what messages were estimated to take, and, without handshakes, the estimate of later ones."""
        self._add_recent(surplus_bytes - self._messages * self._surplus_bytes, labels=False)
        if learn and self._messages >= _ENOUGH_BETWEEN_READINGS:
            self._surplus_bytes = surplus_bytes / self._messages
        self._messages = 0

    def _add_recent(self, size: float, *, labels: bool) -> None:
        now_s = self._clock.monotonic()
        self._began_s = now_s if self._began_s is None else self._began_s
        self._recent.add(size, now_s)
        self._on_wire_bytes(size, labels)

    def report_to(self, on_bytes: Callable[[str, int], None]) -> None:
        """Reports what was counted so far, and from now on whatever is counted."""
        self._on_bytes = on_bytes
        for purpose, size in self._bytes.items():
            on_bytes(purpose, size)

    def report_wire_bytes_to(self, on_wire_bytes: Callable[[float, bool], None]) -> None:
        """Reports what every message takes with its headers, as far as is known, and corrections of it.

        Args:
            on_wire_bytes: called with bytes and whether they are a message of labels.
        """
        self._on_wire_bytes = on_wire_bytes

    async def watch(self, connections: Callable[[], Sequence[CarryingConnection]]) -> None:
        """Takes a reading at once and each second, and a last one when it is cancelled."""
        try:
            while True:
                self.measured(connections())
                await asyncio.sleep(_READING_INTERVAL_S)
        finally:
            self.measured(connections())


class Purposes:
    """Tells the purposes of the messages of one stream, in their order: only the first chunk of a blob has its kind."""

    def __init__(self) -> None:
        self._kind = ""

    def from_sender(self, data: bytes) -> str:
        """The purpose of a message that a sender has written; `OTHER` if it is malformed."""
        if is_compact(data):
            return LABELS
        field = _field(data)
        if field not in (_HEARTBEAT, _CHUNK) or len(data) > MAX_PARSED_BYTES:
            return _FROM_SENDER.get(field, OTHER)
        try:
            message = pb.ClientMessage.FromString(data)
        except DecodeError:
            return OTHER
        if field == _HEARTBEAT:
            return PROBING if message.heartbeat.padding else HEARTBEATS
        chunk = message.chunk
        if chunk.kind:
            self._kind = chunk.kind
        return BLOB_KINDS[self._kind].purpose if self._kind in BLOB_KINDS else OTHER

    def from_receiver(self, data: bytes) -> str:
        """The purpose of a message that a receiver has written."""
        return ACKNOWLEDGEMENTS if is_compact(data) else _FROM_RECEIVER.get(_field(data), OTHER)


def face_bytes(data: bytes) -> int:
    """Bytes of a face's picture in a sender's message of labels, with their length."""
    if is_compact(data):
        return compact_face_bytes(data)
    try:
        part = pb.ClientMessage.FromString(data).frame.faces
    except DecodeError:
        return 0
    return len(part) + 2 if part else 0


def _field(data: bytes) -> int:
    """The number of the field that a message begins with."""
    return data[0] >> 3 if data else 0
