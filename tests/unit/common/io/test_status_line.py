import pytest
from rich.cells import cell_len

from common.io.status_line import (
    ASCII,
    UNICODE,
    Part,
    Progress,
    bit_rate,
    clock_time,
    counted,
    duration,
    status_text,
)

PARTS = [Part("connected", 4), Part("12.0 fps", 1), Part("9 B", 2, "yellow")]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (34, "sender  connected · 12.0 fps · 9 B"),
        (33, "sender  12.0 fps · 9 B"),
        (21, "sender  12.0 fps"),
        (15, ""),
        (0, ""),
    ],
)
def test_parts_of_high_rank_are_left_out(width: int, shown: str) -> None:
    assert status_text("sender", PARTS, width).plain == shown
    assert status_text("sender", PARTS, 80, ASCII).plain == "sender  connected | 12.0 fps | 9 B"


def test_line_is_never_wider_than_asked_for() -> None:
    parts = [*Progress(3, 10, 8.0).parts(UNICODE), Part("日本", 3)]
    for width in range(70):
        assert cell_len(status_text("receiver", parts, width).plain) <= width


def test_progress() -> None:
    texts = [part.text for part in Progress(150, 300, 61.2).parts(ASCII)]
    assert texts == ["150/300 frames", "#" * 10 + "-" * 10, "1:02 left"]
    beyond = [part.text for part in Progress(12, 10, None).parts(ASCII)]
    assert beyond == ["12/12 frames", "#" * 20], "an estimated length"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (bit_rate(0), "0.0 kbit/s"),
        (bit_rate(9_800), "9.8 kbit/s"),
        (bit_rate(12_300_000), "12 Mbit/s"),
        (bit_rate(2e12), "2000 Gbit/s"),
        (duration(87.4), "87 ms"),
        (duration(1400), "1.4 s"),
        (duration(61_000), "1:01"),
        (clock_time(0.2), "0:01"),
        (clock_time(3723), "1:02:03"),
        (counted(1, "person", "people"), "1 person"),
        (counted(1234, "mesh", "meshes"), "1,234 meshes"),
        (counted(0, "session"), "0 sessions"),
    ],
)
def test_numbers_as_text(shown: str, expected: str) -> None:
    assert shown == expected
