"""Positions in a recording as text: `00:10:00`, `10:00`, `600`, `00:10:00.250`."""

import re
from typing import Final

_PATTERN: Final = re.compile(r"(?:(?:(?P<hours>\d{1,4}):)?(?P<minutes>\d{1,2}):)?(?P<seconds>\d{1,7}(?:\.\d{1,6})?)")


def parse_position(text: str) -> int:
    """Microseconds of `seconds`, `minutes:seconds` or `hours:minutes:seconds`.

    Raises:
        ValueError: it is none of these.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None or (match["minutes"] and float(match["seconds"]) >= 60) or int(match["minutes"] or 0) >= 60:
        raise ValueError(f"{text!r} is no time such as 00:10:00, 10:00 or 600")
    minutes = 60 * int(match["hours"] or 0) + int(match["minutes"] or 0)
    return 60_000_000 * minutes + round(float(match["seconds"]) * 1e6)


def format_position(position_us: int) -> str:
    """`00:10:00` or `00:10:00.250`, to the millisecond."""
    minutes, rest_ms = divmod(round(position_us / 1e3), 60_000)
    text = f"{minutes // 60:02}:{minutes % 60:02}:{rest_ms // 1000:02}"
    return text if rest_ms % 1000 == 0 else f"{text}.{rest_ms % 1000:03}"
