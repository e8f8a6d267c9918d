import pytest

from receiver.web.accounts.names import MAX_NAME, checked_label, checked_name, checked_new_name, name_key


@pytest.mark.parametrize("name", ["Anna", "anna.b", "a1", "Ünal", "李明", "anna@example.org", "a" * MAX_NAME])
def test_name_is_kept(name: str) -> None:
    assert checked_name(f" {name} ") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "a" * (MAX_NAME + 1),
        "a" * 10**6,
        "-anna",
        "anna.",
        "an na",
        "an\0na",
        "an\u202ena",
        "a/b",
        "../etc",
        "\ud800x",
    ],
)
def test_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        checked_name(name)


@pytest.mark.parametrize("name", ["аnna", "Αnna", "annа", "李a"])
def test_new_name_has_one_script(name: str) -> None:
    with pytest.raises(ValueError, match="letters of one script"):
        checked_new_name(name)
    assert checked_name(name) == name, "who has such a name signs in"


@pytest.mark.parametrize("name", ["Anna", "Анна", "anna-2", "Ünal", "ひらカナ漢字", "東京タワー", "한국", "ａｎｎａ"])
def test_new_name_of_one_script_is_kept(name: str) -> None:
    assert checked_new_name(name)


def test_name_is_normalised() -> None:
    assert checked_name("Ａｎｎａ") == "Anna"  # full-width letters


@pytest.mark.parametrize("other", ["anna", "ANNA", " Anna ", "Ａｎｎａ"])
def test_names_that_look_the_same_have_one_key(other: str) -> None:
    assert name_key(other) == name_key("Anna")


def test_composed_and_decomposed_characters_have_one_key() -> None:
    assert name_key("u\u0308nal") == name_key("Ünal")


def test_any_text_has_a_key() -> None:
    assert len(name_key("\ud800\0" * 10**5)) <= 2 * MAX_NAME


@pytest.mark.parametrize("label", ["", " ", "a\nb", "\x1b[31m", "a" * 65, "a\u202eb"])
def test_label_that_does_not_print_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="a label has"):
        checked_label(label)
