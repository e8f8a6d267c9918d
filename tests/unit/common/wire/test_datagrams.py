"""Compact frames and acknowledgements come back as they were, or are refused."""

import pytest

from common.errors import MalformedPacket
from common.wire.convert import ClientMessages, ServerMessages
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import Acknowledgement, Acknowledgements, AckStatus, FrameMessage
from common.wire.traffic import face_bytes


class Ends:
    """Sender and receiver of one stream."""

    def __init__(self) -> None:
        here, there = Datagrams(), Datagrams()
        self.frames_out, self.answers_in = ClientMessages(here), ServerMessages(here)
        self.frames_in, self.answers_out = ClientMessages(there), ServerMessages(there)

    def send(self, sequence: int, *earlier: int, arrives: bool = True) -> int:
        """Passes a frame on; returns the bytes around its payload."""
        frame = FrameMessage(sequence, b"payload", sequence % 2 == 0, earlier)
        data = self.frames_out.encode(frame)
        if arrives:
            assert self.frames_in.decode(data) == frame
        return len(data) - len(frame.payload)

    def answer(self, *answers: Acknowledgement) -> int:
        """Passes answers on; returns the bytes of the message."""
        data = self.answers_out.encode(Acknowledgements(answers))
        found = self.answers_in.decode(data)
        assert isinstance(found, Acknowledgements)
        assert [(ack.sequence, ack.status, ack.reason) for ack in found.frames] == [
            (ack.sequence, ack.status, ack.reason) for ack in answers
        ]
        assert [ack.hold_us for ack in found.frames] == pytest.approx([ack.hold_us for ack in answers], abs=51)
        return len(data)


def ack(sequence: int, hold_ms: float = 10.0, status: AckStatus = AckStatus.DECODED) -> Acknowledgement:
    return Acknowledgement(sequence, status, 0, 0, round(hold_ms * 1e3), "why" if status is AckStatus.REJECTED else "")


def test_frames_have_one_byte_once_one_was_answered() -> None:
    ends = Ends()
    assert [ends.send(sequence) for sequence in (70_000, 70_001)] == [10, 8]
    ends.answer(ack(70_001))
    assert [ends.send(sequence) for sequence in range(70_002, 70_010)] == [1] * 8
    assert ends.send(70_013, 70_010, 70_011, 70_012) == 2
    assert ends.send(70_016, 70_014) > 2


def test_a_part_of_a_face_takes_three_bytes_more() -> None:
    ends = Ends()
    ends.send(6)
    ends.send(7)
    ends.answer(ack(7))
    for faces in (b"\x00\x07\x80picture", bytes(300)):
        for earlier in ((), (8,)):
            frame = FrameMessage(9, b"payload", True, earlier, faces)
            data = ends.frames_out.encode(frame)
            assert len(data) == 2 + (1 if len(faces) < 128 else 2) + len(faces) + len(frame.payload)
            assert face_bytes(data) == 2 + len(faces)
            assert ends.frames_in.decode(data) == frame


@pytest.mark.parametrize("data", [b"\x60\x88", b"\x60\x88\x7f", b"\x60\x88\x02ab", b"\x48\x88payload"])
def test_a_frame_whose_part_of_a_face_is_cut_is_refused(data: bytes) -> None:
    ends = Ends()
    ends.send(7)
    with pytest.raises(MalformedPacket):
        ends.frames_in.decode(data)
    assert 0 <= face_bytes(data) <= len(data)


def test_answers_take_a_byte_a_frame() -> None:
    ends = Ends()
    for sequence in range(500, 508):
        ends.send(sequence)
    answers = [ack(sequence, 10.0 + 33.3 * (507 - sequence)) for sequence in range(500, 508)]
    assert ends.answer(*answers) == 10
    late = ack(507, 10.0, AckStatus.LATE)
    assert ends.answer(*answers[:3], ack(505, 75.0), late) == 15
    assert ends.answer(ack(506, 40.0), ack(507, 10.0, AckStatus.REJECTED)) > 10


def test_number_of_more_than_63_bits_is_refused() -> None:
    ends = Ends()
    ends.send(5)
    with pytest.raises(MalformedPacket, match="up to 63 bits"):
        ends.answers_in.decode(b"\x85\x00" + b"\xff" * 10 + b"\x01")
