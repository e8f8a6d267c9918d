import pytest

from common.recording.position import format_position, parse_position


def test_parse_position() -> None:
    for text, seconds in (
        ("0", 0),
        ("90", 90),
        ("00:10:00", 600),
        ("10:00", 600),
        ("1:2:3.25", 3723.25),
        ("100:00:00", 360000),
    ):
        assert parse_position(text) == seconds * 1e6


def test_parse_position_refuses_other_text() -> None:
    for text in ("", "-1", "1:60", "1:60:00", "1:2:3:4", "ten", "1e3", "inf", "9" * 30, "00:10:00s"):
        with pytest.raises(ValueError, match="such as 00:10:00"):
            parse_position(text)


def test_format_position_is_the_inverse_of_parse() -> None:
    for text in ("00:00:00", "00:10:00", "02:02:05.250", "100:00:00"):
        assert format_position(parse_position(text)) == text
