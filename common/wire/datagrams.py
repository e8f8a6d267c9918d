"""Frames and acknowledgements in datagrams, which may be lost or overtake each other: a few bytes around each payload.

    frame              [01f00eee] · 1 w ssssss · [size · part of a face's picture] · payload
                         s: last bits of its number; w: its acknowledgement may wait;
                         e: earlier frames of a bundle, with the numbers before it; f: whether it has such a part
    acknowledgements   1 sssssss · p nnnnnnn · hold · [status] · n × (spacing · [status])
                         of n + 1 frames in the order of arrival, the last one first; s: last bits of its number;
                         hold, spacing: 0.1 ms, variable-length; spacing to the frame behind, as its change

Numbers are relative to the newest frame that has arrived, as QUIC's packet numbers (RFC 9000, section 17.1).  If all
frames are decoded and follow each other (p = 0), statuses are left out: else each has its status in the last two bits,
and how many numbers it leaves out to the frame behind.  Messages that this cannot express are in protobuf, whose first
bytes are below 0x40.
"""

from collections.abc import Sequence
from itertools import pairwise

from common.errors import MalformedPacket
from common.wire.frame_messages import NO_SEQUENCE, Acknowledgement, Acknowledgements, AckStatus, FrameMessage, require

_COMPACT, _BUNDLE, _FACES, _EARLIER = 0x80, 0x40, 0x20, 0x07
_MAY_WAIT, _FRAME_NUMBERS, _ANSWER_NUMBERS = 0x40, 0x40, 0x80
_WITH_STATUS, _MOST_ANSWERS = 0x80, 16
# Of a number but for its last byte; to put a longer one together takes time that grows with the square of its length.
_MOST_BITS = 63
_UNIT_US = 100
# Between frames at 30 a second: spacings are coded as changes, the first one of this.
_USUAL_SPACING = 333
_STATUSES = tuple(AckStatus)
_STATUS_BITS = 2


def is_compact(data: bytes) -> bool:
    """Whether bytes are a message as above, not one in protobuf."""
    return data[:1] >= bytes([_BUNDLE])


class Datagrams:
    """The numbers that one end of a stream has sent and received; it codes both directions."""

    def __init__(self) -> None:
        self._sent = self._answered = self._received = NO_SEQUENCE

    def encode(self, message: object) -> bytes | None:
        """A frame or acknowledgements as above; None for what this cannot express."""
        if isinstance(message, FrameMessage):
            return self._encode_frame(message)
        return self._encode_answers(message) if isinstance(message, Acknowledgements) else None

    def _encode_frame(self, frame: FrameMessage) -> bytes | None:
        """None if the other end might not know which number is meant."""
        ahead, self._sent = frame.sequence - self._answered, max(self._sent, frame.sequence)
        known = self._answered != NO_SEQUENCE and 0 < ahead < _FRAME_NUMBERS // 2
        if not known or frame.earlier != _before(frame.sequence, len(frame.earlier)):
            return None
        more = len(frame.earlier) | (_FACES if frame.faces else 0)
        waits = _MAY_WAIT if frame.may_wait else 0
        head = bytes([_BUNDLE | more] if more else []) + bytes([_COMPACT | waits | frame.sequence % _FRAME_NUMBERS])
        return head + (_variable(len(frame.faces)) + frame.faces if frame.faces else b"") + frame.payload

    def decode_frame(self, data: bytes) -> FrameMessage:
        """The inverse of `encode`. Raises MalformedPacket."""
        require(self._received != NO_SEQUENCE, "a short frame before a whole one")
        reader = _Reader(data)
        more, head = 0, reader.byte()
        if head < _COMPACT:
            more, head = head % _BUNDLE, reader.byte()
        require(not more & ~(_FACES | _EARLIER), "a frame has a flag that nobody knows")
        earlier = more & _EARLIER
        oldest = self._received - _FRAME_NUMBERS // 2 + 1
        sequence = oldest + (head - oldest) % _FRAME_NUMBERS
        faces = reader.part(reader.variable()) if more & _FACES else b""
        frame = FrameMessage(sequence, reader.rest(), bool(head & _MAY_WAIT), _before(sequence, earlier), faces)
        return self.received(frame)

    def received(self, frame: FrameMessage) -> FrameMessage:
        """Takes note of a frame that has arrived; returns it."""
        self._received = max(self._received, frame.sequence)
        return frame

    def _encode_answers(self, answers: Acknowledgements) -> bytes | None:
        """Of answers that leave together; None if one is a rejection, or they are far apart or in another order."""
        frames = answers.frames[::-1]
        gaps = [after.sequence - before.sequence - 1 for after, before in pairwise(frames)]
        plain = not any(gaps) and all(ack.status is AckStatus.DECODED for ack in frames)
        expressible = all(not ack.reason and ack.sequence != NO_SEQUENCE for ack in frames)
        if not expressible or len(frames) > _MOST_ANSWERS or not all(0 <= gap < _FRAME_NUMBERS for gap in gaps):
            return None
        holds = [round(ack.hold_us / _UNIT_US) for ack in frames]
        coded = bytearray([_COMPACT | frames[0].sequence % _ANSWER_NUMBERS])
        coded += bytes([len(frames) - 1 | (0 if plain else _WITH_STATUS)]) + _variable(holds[0])
        spacings = [_USUAL_SPACING, *(before - after for after, before in pairwise(holds))]
        for index, ack in enumerate(frames):
            if index:
                change = spacings[index] - spacings[index - 1]
                coded += _variable(2 * change if change >= 0 else -2 * change - 1)
            if not plain:
                coded.append(_STATUSES.index(ack.status) | (gaps[index - 1] << _STATUS_BITS if index else 0))
        return bytes(coded)

    def decode_answers(self, data: bytes) -> Acknowledgements:
        """The inverse of `encode`. Raises MalformedPacket."""
        reader = _Reader(data)
        sequence = self._sent - (self._sent - reader.byte()) % _ANSWER_NUMBERS
        head = reader.byte()
        count, plain = head % _WITH_STATUS + 1, not head & _WITH_STATUS
        require(count <= _MOST_ANSWERS, f"a datagram acknowledges up to {_MOST_ANSWERS} frames")
        hold, spacing = reader.variable(), _USUAL_SPACING
        found: list[tuple[int, AckStatus, int]] = []
        for index in range(count):
            if index:
                change = reader.variable()
                spacing += change // 2 if change % 2 == 0 else -(change + 1) // 2
                hold, sequence = hold + spacing, sequence - 1
            status = 0 if plain else reader.byte()
            sequence -= status >> _STATUS_BITS
            found.append((sequence, _STATUSES[status % len(_STATUSES)], hold * _UNIT_US))
        return self._in_order(found[::-1])

    def _in_order(self, found: Sequence[tuple[int, AckStatus, int]]) -> Acknowledgements:
        spacings_us = [0, *(max(before - after, 1) for (*_, before), (*_, after) in pairwise(found))]
        frames = tuple(
            Acknowledgement(sequence, status, 0, spacing_us, hold_us)
            for (sequence, status, hold_us), spacing_us in zip(found, spacings_us, strict=True)
        )
        return self.answered(Acknowledgements(frames))

    def answered(self, answers: Acknowledgements) -> Acknowledgements:
        """Takes note of answers to frames; returns them."""
        newest = max(ack.sequence for ack in answers.frames)
        if self._answered < newest <= self._sent:
            self._answered = newest
        return answers


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        if self._at >= len(self._data):
            raise MalformedPacket("a datagram is cut short")
        self._at += 1
        return self._data[self._at - 1]

    def part(self, count: int) -> bytes:
        require(self._at + count <= len(self._data), "a datagram is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        return self._data[self._at :]

    def variable(self) -> int:
        value = shift = 0
        while (byte := self.byte()) & _COMPACT:
            require(shift < _MOST_BITS, f"a number of a datagram has up to {_MOST_BITS} bits")
            value |= (byte ^ _COMPACT) << shift
            shift += 7
        return value | byte << shift


def compact_face_bytes(data: bytes) -> int:
    """Bytes of a face's picture in a compact frame, with their length and the flag; 0 for what is cut short."""
    if not _BUNDLE <= data[0] < _COMPACT or not data[0] & _FACES:
        return 0
    try:
        return min(_Reader(data[2:]).variable() + 2, len(data))
    except MalformedPacket:
        return 0


def _before(sequence: int, count: int) -> tuple[int, ...]:
    """So many numbers up to this one."""
    return tuple(range(sequence - count, sequence))


def _variable(value: int) -> bytes:
    """Seven bits a byte, the lowest first, as in protobuf."""
    coded = bytearray()
    while value >= _COMPACT:
        coded.append(value & 0x7F | _COMPACT)
        value >>= 7
    return bytes([*coded, value])
