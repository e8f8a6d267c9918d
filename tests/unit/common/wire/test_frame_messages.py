import math

import pytest

from common.errors import MalformedPacket
from common.wire.convert import decode_client, encode_client
from common.wire.frame_messages import MAX_FACES_BYTES, MAX_TIME_MS, REPORTED_STAGES, FrameMessage, SenderReport
from common.wire.traffic import face_bytes

FULL = SenderReport(
    3_000_000,
    12.5,
    {stage: 10.0 + index for index, stage in enumerate(REPORTED_STAGES)},
    people_limit=3,
    camera_fps=29.97,
)


def test_report_costs_tens_of_bytes() -> None:
    assert len(encode_client(FULL)) <= 45
    assert decode_client(encode_client(FULL)) == FULL


def test_a_frame_carries_a_part_of_a_face() -> None:
    frame = FrameMessage(5, b"payload", faces=b"\x00\x07\x80picture")
    assert decode_client(encode_client(frame)) == frame
    assert face_bytes(encode_client(frame)) == len(frame.faces) + 2
    assert face_bytes(encode_client(FrameMessage(5, b"payload"))) == 0
    with pytest.raises(MalformedPacket):
        FrameMessage(5, b"payload", faces=bytes(MAX_FACES_BYTES + 1))


def test_report_out_of_range_is_refused() -> None:
    for capacity_bps, round_trip_ms, stages_ms in (
        (0, None, {}),
        (10**12 + 1, None, {}),
        (None, -1.0, {}),
        (None, math.nan, {}),
        (None, math.inf, {}),
        (None, None, {"perception": 2 * MAX_TIME_MS}),
        (None, None, {"lunch": 1.0}),
    ):
        with pytest.raises(MalformedPacket):
            SenderReport(capacity_bps, round_trip_ms, stages_ms)
    with pytest.raises(MalformedPacket):
        SenderReport(camera_fps=1e9)
