import pytest

from receiver.web.accounts.store import MAX_NAME, checked_label, checked_name, name_key
from receiver.web.places import Refused


def test_name_is_kept_or_normalised() -> None:
    for name in ("Anna", "anna.b", "a1", "Ünal", "李明", "anna@example.org", "a" * MAX_NAME):
        assert checked_name(f" {name} ") == name
    assert checked_name("Ａｎｎａ") == "Anna"  # full-width letters


def test_other_name_is_refused() -> None:
    wrong_lengths = ("", "a", "a" * (MAX_NAME + 1), "a" * 10**6)
    for name in (*wrong_lengths, "-anna", "anna.", "an na", "an\0na", "an\u202ena", "a/b", "../etc", "\ud800x"):
        with pytest.raises(Refused, match="a name has"):
            pytest.fail(f"{checked_name(name)!r} is a name")


def test_names_that_look_the_same_have_one_key() -> None:
    for other in ("anna", "ANNA", " Anna ", "Ａｎｎａ"):
        assert name_key(other) == name_key("Anna"), other
    assert name_key("u\u0308nal") == name_key("Ünal"), "composed and decomposed"
    assert len(name_key("\ud800\0" * 10**5)) <= 2 * MAX_NAME, "any text has a key"


def test_label_that_does_not_print_is_refused() -> None:
    for label in ("", " ", "a\nb", "\x1b[31m", "a" * 65, "a\u202eb"):
        with pytest.raises(Refused, match="a label has"):
            pytest.fail(f"{checked_label(label)!r} is a label")
