"""Options of recording and replay."""

import math
import os
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from common.errors import OutputError
from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """A recording in place of senders; the receiver ends with it."""

    replay: Path | None = option(None, help="recording to replay instead of listening for senders")
    speed: str = option("1", help="pace: 1 as captured, 2 twice as fast, max: as fast as possible")
    from_: float = option(0.0, help="seconds of the recording to begin behind", advanced=True)

    def __post_init__(self) -> None:
        try:
            if self.speed != "max" and not 0 < float(self.speed) < math.inf:
                raise ValueError
        except ValueError:
            raise ValueError(f"--speed must be max or a number above 0, not {self.speed!r}") from None
        if self.from_ < 0:
            raise ValueError(f"--from must not be below 0, as {self.from_:g} is")

    @property
    def factor(self) -> float | None:
        """How many times as fast as captured; None for as fast as possible."""
        return None if self.speed == "max" else float(self.speed)

    @property
    def from_us(self) -> int:
        """Where the replay begins."""
        return round(self.from_ * 1e6)


SUFFIX = ".bw"


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Recording of sessions."""

    record: Path | None = option(
        None,
        help="record sessions to FILE.bw, FILE-2.bw, …, or to session-N.bw in a directory",
    )

    def check(self) -> None:
        """Checks that a recording can be created.

        Raises:
            OutputError: the file exists, or its folder does not or cannot be written.
        """
        record = self.record
        if record is None:
            return
        try:
            folder = record if _is_folder(record) else record.absolute().parent
            if folder == record:
                record.mkdir(parents=True, exist_ok=True, mode=0o700)
            elif record.exists():
                raise OutputError(f"{record} exists: remove it, or give --record another name")
        except OSError as error:
            raise OutputError(f"cannot record to {record}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise OutputError(f"{folder} does not exist or cannot be written: give --record another place")

    def path_of(self, session_number: int) -> Path:
        """A path that no file has yet, for a session of the output directory."""
        assert self.record is not None
        named = self.record / f"session-{session_number}{SUFFIX}" if _is_folder(self.record) else self.record
        further = (named.with_stem(f"{named.stem}-{number}") for number in count(2))
        return next(path for path in chain([named], further) if not os.path.lexists(path))


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.suffix == ""
