"""What a list of sessions shows of each: when it was, how long, who, how much."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

_PLAIN = (
    "source", "sources",
    "began_at", "ended_at", "captured_from", "captured_to",
    "disk_bytes", "label_bytes", "link_bytes", "link_counted", "aged", "age_ms",
)  # fmt: skip
# What a double still counts one by one; and the end of the year 9999, the last that a date can have.
_MOST, _MOST_TIME_S = 2**53, 253_402_300_799


@dataclass(slots=True)
class SessionStatistics:
    """Sums over the lines of a session.

    Args:
        began_at, ended_at: when its first and its newest line were written, seconds since the epoch on this machine.
        source: file name or device of the newest line.
        sources: of how many lines it was another than of the line before.
        captured_from, captured_to: times of capture of these, sender's clock.
        people: identities of everybody who was seen.
        disk_bytes: lines and meshes.
        label_bytes: of all packets.
        link_bytes: everything on the link until the newest line; 0 without a link.
        link_counted: what the newest line says of it: a receiver that was restarted counts from 0.
        aged: number of lines with an age.
        age_ms: sum of these.
    """

    began_at: float = 0.0
    ended_at: float = 0.0
    source: str = ""
    sources: int = 0
    captured_from: float = 0.0
    captured_to: float = 0.0
    people: set[int] = field(default_factory=set)
    disk_bytes: int = 0
    label_bytes: int = 0
    link_bytes: int = 0
    link_counted: int = 0
    aged: int = 0
    age_ms: float = 0.0

    @property
    def length_s(self) -> float:
        """From the first frame to the newest, by the sender's clock; 0 if it was set back."""
        return max(self.captured_to - self.captured_from, 0.0)

    @property
    def mean_age_ms(self) -> float | None:
        """Mean age of the frames whose age is known."""
        return self.age_ms / self.aged if self.aged else None

    def add(self, line: Mapping[str, Any], disk_bytes: int, written_at: float) -> None:
        """Counts a line of `frames.jsonl`; damaged values, of a file that was edited, are left out.

        Args:
            disk_bytes: of the line and its meshes.
        """
        source = str(line.get("source", ""))
        self.sources += source != self.source or not self.began_at
        if not self.began_at:
            self.began_at = written_at
            self.captured_from = self.captured_to = _number(line.get("captured_at"))
        self.ended_at, self.source = written_at, source
        self.captured_to = _number(line.get("captured_at")) or self.captured_to
        self.disk_bytes += disk_bytes
        counted = int(_number(line.get("link_bytes"))) or self.link_counted
        # It is estimated between two readings of the connection, and may be corrected downwards.
        was_restarted = counted < self.link_counted / 2
        self.link_bytes += counted if was_restarted else counted - self.link_counted
        self.link_counted = counted
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            self.label_bytes += int(_number(line["bytes"]["total"]))
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            self.people.update(whole(person["id"], _MOST) for person in line["people"])
        if line.get("age_ms") is not None:
            self.aged += 1
            self.age_ms += _number(line["age_ms"])

    def copy(self) -> Self:
        """The statistics as they are now."""
        return replace(self, people=set(self.people))

    def as_dict(self) -> dict[str, Any]:
        """For `index.json`."""
        return {**{name: getattr(self, name) for name in _PLAIN}, "people": sorted(self.people)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """What `as_dict` has made. Raises TypeError or ValueError if it is something else."""
        known: dict[str, Any] = {name: fields[name] for name in _PLAIN if name in fields}
        if not isinstance(known.get("source", ""), str):
            raise TypeError("a source is no text")
        if any(_number(value) != value for name, value in known.items() if name != "source"):
            raise ValueError("a number is out of range")
        if max(known.get("began_at", 0.0), known.get("ended_at", 0.0)) > _MOST_TIME_S:
            raise ValueError("a time is out of range")
        return cls(**known, people={int(person) for person in fields.get("people", ())})


def is_album(frames: int, sources: int) -> bool:
    """Whether frames are pictures of their own, each with people of its own: most have names of their own.

    Args:
        sources: how often the source was another than that of the frame before, the first one counted.
    """
    return frames > 1 and 2 * sources > frames


def whole(value: Any, most: int) -> int:
    """A whole number from 0 to `most` of a record. Raises ValueError, TypeError or OverflowError."""
    number = int(value)
    if not 0 <= number <= most:
        raise ValueError(f"{value!r:.40} is out of range")
    return number


def _number(value: Any) -> float:
    """0 for what is no number, or out of range."""
    return value if isinstance(value, (int, float)) and abs(value) <= _MOST else 0.0
