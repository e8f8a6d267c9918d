"""Text for users: numbers of things, and what comes from outside, made safe to log and to print."""

_CUT = "…"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things: `1 frame`, `3 frames`; `plural` is that of a noun which gets no s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def printable(text: str, limit: int) -> str:
    r"""One line of at most `limit` characters that cannot control a terminal.

    Characters that do not print are escaped as in Python source (`\n`, `\x1b`, `\u202e`): control characters, line
    separators, bidirectional overrides, invisible characters and lone surrogates.  Longer text is cut and ends with an
    ellipsis.
    """
    # Escaping only lengthens the text, so the rest of a very long one need not be looked at.
    head = text[: limit + 1]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)
    return shown if len(shown) <= limit else shown[: limit - len(_CUT)] + _CUT
