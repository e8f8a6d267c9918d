"""What is in a directory of a spool that an earlier sender, a crash, a failing disk or a copy of files has left.

A file belongs to the spool if it is of the session and its frames have the numbers that its name says: block k of
`000000000256.bw` has frame 256 + k.
"""

import itertools
import logging
import os
import re
import secrets
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.errors import MalformedPacket, RecordingError, UsageError
from common.frames import LabelFrame
from common.recording.format import RecordedFrame, RecordingFacts
from common.recording.reader import Recording
from common.text import counted
from common.wire.label_frames import decode_label_frame

logger = logging.getLogger(__name__)

_FILE = re.compile(r"([0-9]{12})\.bw")
_MARK_BYTES = 128
# The place of links, folders and pipes.
_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Mark:
    """What the lock file says of the session, whatever becomes of the other files.

    Args:
        session: its id.
        delivered, next_sequence: see `Spool`.
    """

    session: str
    delivered: int
    next_sequence: int

    @classmethod
    def read(cls, lock: int) -> Self | None:
        """The mark in an open file; None if there is none, or it is damaged."""
        text, _, checksum = os.pread(lock, _MARK_BYTES, 0).decode(errors="replace").strip().rpartition(" ")
        if checksum != _checksum(text):
            return None
        session, delivered, next_sequence = text.split()
        return cls(session, int(delivered), int(next_sequence))

    def write(self, lock: int) -> None:
        """Replaces the mark in an open file. Raises OSError."""
        text = f"{self.session} {self.delivered:012d} {self.next_sequence:012d}"
        os.pwrite(lock, f"{text} {_checksum(text)}\n".encode(), 0)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A file: what its head says, and the number that its first frame has by its content; None if unknown."""

    facts: RecordingFacts | None
    place: int | None


def path_of(directory: Path, first: int) -> Path:
    """The file whose first frame has a number."""
    return directory / f"{first:012d}.bw"


def frames_of(recording: Recording, first: int) -> list[LabelFrame]:
    """The frames of a file that can be read, and have the numbers of their places."""
    numbered = enumerate(_frame_in(recording, index) for index in range(len(recording.blocks)))
    return [frame for index, frame in numbered if frame is not None and frame.sequence == first + index]


def files_of_session(
    directory: Path, mark: Mark | None, check: Callable[[RecordingFacts], None]
) -> tuple[RecordingFacts | None, Sequence[int]]:
    """The head of the session's files, and the first numbers of all its files, damaged ones among them, in order.

    A file of another place or session is renamed; to its own place, if no file is there.

    Args:
        check: raises UsageError if the session is not to be resumed.

    Raises:
        UsageError: there are files, and none can be read; or of `check`.
        OSError: the directory cannot be read, or a file not be renamed.
    """
    names = (_FILE.fullmatch(name) for name in os.listdir(directory))
    found = {first: _look(path_of(directory, first)) for first in sorted(int(name[1]) for name in names if name)}
    if not found:
        return None, ()
    facts = _facts_of_session(directory, found, mark)
    check(facts)
    ours = {first for first, each in found.items() if each.facts is None or each.facts.session == facts.session}
    if mark is not None and mark.session == facts.session.get("id"):
        ours -= {first for first in ours if found[first].place is None and first > mark.next_sequence}
    right = {first for first in ours if found[first].place in (None, first)}
    # All before any gets another's name.
    aside = {first: _put_aside(path_of(directory, first)) for first in found if first not in right}
    for first, path in aside.items():
        place = found[first].place
        if first in ours and found[first].facts and place is not None and place not in right:
            path.rename(path_of(directory, place))
            right.add(place)
        else:
            logger.warning("%s is not of this session and place: it is called %s now", path.stem, path.name)
    return facts, sorted(right)


def _facts_of_session(directory: Path, found: Mapping[int, _Found], mark: Mark | None) -> RecordingFacts:
    """Of the session that the mark names, or else of the newest file. Raises UsageError."""
    known: list[RecordingFacts] = [each.facts for _, each in sorted(found.items(), reverse=True) if each.facts]
    marked = [facts for facts in known if mark is not None and facts.session.get("id") == mark.session]
    for facts in (*marked, *known):
        if facts.recorded_by == "spool" and set(facts.session) == {"id", "secret", "source"}:
            return facts
    newest = path_of(directory, max(found))
    remedy = f"remove {directory}, or give another --spool"
    try:
        Recording(newest).close()
    except RecordingError as error:
        raise UsageError(f"{error}: {remedy}") from None
    raise UsageError(f"{newest} is no file of a spool: remove it, or give another --spool")


def _look(path: Path) -> _Found:
    if path.is_symlink() or not path.is_file():
        return _Found(None, _NOWHERE)
    with suppress(RecordingError), Recording(path) as recording:
        for index in range(len(recording.blocks)):
            if (frame := _frame_in(recording, index)) is not None:
                return _Found(recording.facts, frame.sequence - index)
        return _Found(recording.facts, None)
    return _Found(None, None)


def _frame_in(recording: Recording, index: int) -> LabelFrame | None:
    with suppress(RecordingError, MalformedPacket):
        records = recording.records_of(recording.blocks[index])
        if len(records) == 1 and isinstance(records[0], RecordedFrame):
            return decode_label_frame(records[0].payload)
    return None


def _put_aside(path: Path) -> Path:
    return path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))


def say_lost(directory: Path, first: int, frames: Sequence[LabelFrame], after: int) -> None:
    """Warns about the numbers from `first` to the one before `after` that frames, in order, do not have."""
    known = [first - 1, *(frame.sequence for frame in frames), after]
    gaps = [(one + 1, other - 1) for one, other in itertools.pairwise(known) if other - one > 1]
    if gaps:
        lost = counted(sum(last - begin + 1 for begin, last in gaps), "frame")
        ranges = ", ".join(f"frames {begin} to {last}" for begin, last in gaps)
        logger.warning("the spool %s is damaged: %s are lost (%s)", directory, ranges, lost)
