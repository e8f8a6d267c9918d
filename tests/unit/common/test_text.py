import pytest

from common.text import counted, printable


def test_numbers_of_things() -> None:
    assert [counted(number, "frame") for number in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert [counted(number, "person", "people") for number in (1, 12)] == ["1 person", "12 people"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("camera 0, größer 😀", "camera 0, größer 😀"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[2J\x00\x7f\x9b", r"\x1b[2J\x00\x7f\x9b"),
        ("\u202egnp.exe\u2066\u200b\ufeff", r"\u202egnp.exe\u2066\u200b\ufeff"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("", ""),
    ],
)
def test_printable_escapes_what_does_not_print(text: str, shown: str) -> None:
    assert printable(text, 100) == shown


def test_printable_cuts_long_text() -> None:
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdefg", 6) == "abcde…"
    assert printable("\x00" * 3, 6) == r"\x00\…"
    assert printable("ab", 1) == "…"
