"""Names of accounts, and labels of tokens."""

import re
import unicodedata

from receiver.web.refused import Refused

MIN_NAME, MAX_NAME, MAX_LABEL = 2, 64, 64
# Letters and digits of any script; NFKC has already made one of the many forms of each.
_NAME = re.compile(r"[^\W_](?:[\w.@+-]*[^\W_])?")


def checked_name(text: str) -> str:
    """A name for a new account, normalised by NFKC, without surrounding space.

    Raises:
        Refused: 422 it is too short or too long, or has characters that a name cannot have.
    """
    name = unicodedata.normalize("NFKC", text[: 4 * MAX_NAME]).strip()
    if not MIN_NAME <= len(name) <= MAX_NAME:
        raise Refused(422, f"a name has {MIN_NAME} to {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise Refused(422, "a name has letters, digits and . @ + - _ and begins and ends with a letter or digit")
    return name


def name_key(text: str) -> str:
    """What two names have in common that differ only in case or in the form of their characters.

    Any text has a key, so that a name that cannot exist takes the same way as one that does not.
    """
    encodable = text[: 4 * MAX_NAME].encode(errors="replace").decode()
    folded = unicodedata.normalize("NFKC", encodable).strip().casefold()
    return unicodedata.normalize("NFKC", folded)[: 2 * MAX_NAME]


def checked_label(text: str) -> str:
    """The label of a token, normalised by NFKC. Raises Refused (422) if it is empty, too long, or does not print."""
    label = unicodedata.normalize("NFKC", text[: 4 * MAX_LABEL]).strip()
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise Refused(422, f"a label has 1 to {MAX_LABEL} characters that print")
    return label
