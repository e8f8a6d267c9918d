"""The spool: the frames that a sender has captured and not yet delivered, in order, on disk.

    DIR/lock                locked by the sender that uses the directory; it says how far numbers are given
    DIR/000000000256.bw     a recording of the frames from 256 on, a block each; the newest one is kept as long as the
                            session lasts, because it has the facts

A file belongs to the spool if it is of the session and its frames have the numbers that its name says: block k of
`000000000256.bw` has frame 256 + k.  The facts of each file name the session and its secret, the source, codec and
networks of the frames.  A frame is sent (`read`) only after it is on the disk, so that the spool contains every frame
of the session that a receiver may have: after a crash of the sender or its machine, numbering continues after the last
frame in the spool.  Numbers of frames that were on the disk and are lost, because a file was damaged, are not given
again.
"""

import fcntl
import itertools
import logging
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.codec.packet import CODEC_VERSION
from common.errors import MalformedPacket, OutputError, RecordingError, UsageError, disk_remedy
from common.frames import LabelFrame
from common.io.files import atomic_write, remove_partial_files
from common.recording.format import RecordedFrame, RecordingFacts
from common.recording.reader import Recording
from common.recording.writer import RecordingWriter, file_head
from common.text import counted
from common.version import package_version
from common.wire.convert import SESSION_ID_BYTES, SESSION_SECRET_BYTES
from common.wire.label_frames import decode_label_frame, encode_label_frame
from sender.capture.source import without_credentials
from sender.config import DeliveryConfig

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


@dataclass(frozen=True, slots=True)
class SpoolContent:
    """Origin of the frames in a spool, which must match for a sender to resume them.

    Args:
        source: camera or file, as given on the command line.
        codec_version, model_hash: interpretation of the labels.
    """

    source: str
    codec_version: int
    model_hash: bytes


def files_of_session(
    directory: Path, mark: Mark | None, content: SpoolContent
) -> tuple[RecordingFacts | None, Sequence[int]]:
    """The head of the session's files, and the first numbers of all its files, damaged ones among them, in order.

    A file of another place or session is renamed; to its own place, if no file is there.

    Raises:
        UsageError: there are files, and none can be read, or their frames are of another source or version.
        OSError: the directory cannot be read, or a file not be renamed.
    """
    names = (_FILE.fullmatch(name) for name in os.listdir(directory))
    found = {first: _look(path_of(directory, first)) for first in sorted(int(name[1]) for name in names if name)}
    if not found:
        return None, ()
    facts = _facts_of_session(directory, found, mark)
    if facts.session["source"] != content.source:
        raise UsageError(
            f"the spool {directory} contains frames of {facts.session['source']}, not of {content.source}: "
            "deliver those first, or give another --spool"
        )
    if (facts.codec, facts.model) != (content.codec_version, content.model_hash.hex()):
        raise UsageError(
            f"the spool {directory} contains frames of another version of Bodywire: "
            "deliver them with that version, or give another --spool"
        )
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


LOCK_FILE = "lock"
_FRAMES_PER_SEGMENT = 256


class Spool:
    """A directory of frames; methods block on the disk, and only one may run at a time.

    Args:
        directory: created if missing; the session of an earlier sender is resumed.
        limit_bytes: `has_room` is False while the files are this large or larger.

    Attributes:
        next_sequence: of the next frame.
        delivered: the frames below this sequence are.

    Raises:
        UsageError: another sender uses the directory, or it contains frames of another source or version.
        OutputError: here and in every method: the directory cannot be written or read.
    """

    def __init__(self, directory: Path, content: SpoolContent, limit_bytes: float) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes
        self._writer: RecordingWriter | None = None
        # Size of each other file, by the sequence of its first frame, in order; and frames of one of them.
        self._complete: dict[int, int] = {}
        self._read: tuple[int, list[LabelFrame]] = (-1, [])
        # Of the newest file: the sequence of its first frame, and its frames.
        self._newest, self._frames = 0, list[LabelFrame]()
        self.next_sequence = self.delivered = self._synced = 0
        with self._reported():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(directory / LOCK_FILE, flags, 0o600)
            try:
                self._open(content)
            except BaseException:
                self.close()
                raise

    @property
    def pending(self) -> int:
        """Number of undelivered frames."""
        return self.next_sequence - self.delivered

    @property
    def has_room(self) -> bool:
        written = self._writer.bytes_written if self._writer else 0
        return written + sum(self._complete.values()) < self._limit_bytes

    def append(self, frame: LabelFrame) -> None:
        """Appends a frame, which survives a crash of this process.

        Raises:
            ValueError: its sequence is not `next_sequence`.
        """
        if frame.sequence != self.next_sequence:
            raise ValueError(f"frame {frame.sequence} appended instead of frame {self.next_sequence}")
        with self._reported():
            if len(self._frames) >= _FRAMES_PER_SEGMENT:
                self._begin_file(self.next_sequence)
            assert self._writer is not None
            captured_us = round(frame.captured_at * 1e6)
            record = RecordedFrame(frame.sequence, captured_us, True, encode_label_frame(frame))
            self._writer.add_frame(record, entry_point=True)
            self._writer.flush()
            self._frames.append(frame)
            self.next_sequence += 1

    def read(self, first: int, most: int) -> list[LabelFrame]:
        """The frames from a sequence on, at most `most`, which are synced to the disk; empty if all are damaged.

        A warning says which are lost up to the last of them.
        """
        with self._reported():
            frames = self._frames_from(first)[:most]
        # Another receiver may lack what was delivered, and was deleted.
        begin, after = max(first, self.delivered), frames[-1].sequence + 1 if frames else self.next_sequence
        say_lost(self.directory, begin, [frame for frame in frames if frame.sequence >= begin], after)
        return frames

    def skip(self, sequence: int) -> None:
        """Removes the frames below a sequence without sending them: the receiver has them already.

        Raises:
            UsageError: the receiver has frames of this session that the spool does not know.
        """
        if sequence > self.next_sequence:
            frames = counted(sequence, "frame")
            raise UsageError(
                f"the receiver has {frames} of the session in {self.directory}, which contains only "
                f"{self.next_sequence}: it is an old copy; remove it, or give another --spool"
            )
        self.release(sequence)

    def release(self, sequence: int) -> None:
        """Marks the frames below a sequence as delivered and deletes their files."""
        self.delivered = max(self.delivered, sequence)
        with self._reported():
            self._write_mark()
            for first in list(self._complete):
                if self._after(first) > self.delivered:
                    return
                self._path(first).unlink(missing_ok=True)
                del self._complete[first]

    def finish(self) -> None:
        """Ends the session, whose frames are delivered: the next sender that opens the directory begins a new one."""
        with self._reported():
            self._close_writer()
            for first in [*self._complete, self._newest]:
                self._path(first).unlink(missing_ok=True)
            self._sync_directory()
            os.ftruncate(self._lock, 0)

    def close(self) -> None:
        """Unlocks the directory; undelivered frames stay. Safe to call twice."""
        if self._lock >= 0:
            try:
                with self._reported():
                    self._close_writer()
            finally:
                os.close(self._lock)
                self._lock = -1

    def _open(self, content: SpoolContent) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another sender uses the spool {self.directory}: give --spool another one") from None
        remove_partial_files(self.directory)
        mark = Mark.read(self._lock)
        facts, firsts = files_of_session(self.directory, mark, content)
        self.resumed = facts is not None
        if facts is None:
            session, secret = secrets.token_hex(SESSION_ID_BYTES), secrets.token_hex(SESSION_SECRET_BYTES)
            facts = RecordingFacts(
                content.codec_version,
                content.model_hash.hex(),
                "spool",
                package_version(),
                sender="",
                live=False,
                session={"id": session, "secret": secret, "source": content.source},
            )
        self._facts = facts
        self.session_id = bytes.fromhex(facts.session["id"])
        self.session_secret = bytes.fromhex(facts.session["secret"])
        if firsts:
            self._resume(firsts, mark if mark and mark.session == facts.session["id"] else None)
        else:
            self._begin_file(0)

    def _resume(self, firsts: Sequence[int], mark: Mark | None) -> None:
        """Continues the newest file of an earlier sender, unless that is damaged."""
        oldest, newest = firsts[0], firsts[-1]
        self.delivered = oldest if mark is None else mark.delivered
        self._complete = {first: self._path(first).stat().st_size for first in firsts}
        # Without the mark, nobody knows how many frames were in what cannot be read.
        after = newest + _FRAMES_PER_SEGMENT if mark is None else mark.next_sequence
        with suppress(RecordingError), Recording(self._path(newest)) as recording:
            frames, end = frames_of(recording, newest), newest + len(recording.blocks)
            after = end if mark is None and recording.whole else max(end, after)
            if newest + len(frames) == after:
                self._newest, self._frames = newest, frames
                self._writer = RecordingWriter.behind(recording, len(frames))
                del self._complete[newest]
                self._count_to(after)
                return
        self._begin_file(after)

    def _count_to(self, next_sequence: int) -> None:
        self.next_sequence = self._synced = next_sequence
        self._write_mark()

    def _sync(self) -> None:
        if self._writer is not None and self._synced < self.next_sequence:
            self._writer.sync()
            self._count_to(self.next_sequence)

    def _write_mark(self) -> None:
        # What was not synced when the machine fails was not sent: no number is missing.
        Mark(self._facts.session["id"], self.delivered, self._synced).write(self._lock)

    def _begin_file(self, first: int) -> None:
        if self._writer is not None:
            self._complete[self._newest] = self._writer.bytes_written
            self._read = self._newest, self._frames
            self._close_writer()
        path = self._path(first)
        atomic_write(path, file_head(self._facts), mode=0o600)
        self._sync_directory()
        self._complete.pop(first, None)
        self._newest, self._frames = first, []
        with Recording(path) as recording:
            self._writer = RecordingWriter.behind(recording, 0)
        self._count_to(first)

    def _frames_from(self, first: int) -> list[LabelFrame]:
        """Frames from a sequence on, of the first file that has some."""
        for begin in self._complete:
            after = self._after(begin)
            if after <= first:
                continue
            if self._read[0] != begin:
                self._read = begin, self._frames_in(begin)
            frames = [frame for frame in self._read[1] if first <= frame.sequence < after]
            if frames:
                return frames
        self._sync()
        return self._frames[max(first - self._newest, 0) :]

    def _frames_in(self, first: int) -> list[LabelFrame]:
        try:
            with Recording(self._path(first)) as recording:
                return frames_of(recording, first)
        except RecordingError:
            return []

    def _after(self, first: int) -> int:
        """One after the sequence of the last frame of a complete file: the first frame of the next file."""
        return min(other for other in [*self._complete, self._newest] if other > first)

    def _close_writer(self) -> None:
        if self._writer is not None:
            try:
                self._sync()
            finally:
                writer, self._writer = self._writer, None
                writer.close()

    def _sync_directory(self) -> None:
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, first: int) -> Path:
        return path_of(self.directory, first)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Says what to do about errors of the disk."""
        try:
            yield
        except (OSError, OutputError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            reason = cause.strerror or str(cause)
            remedy = disk_remedy(cause, "give another --spool")
            raise OutputError(f"the spool {self.directory}: {reason}; {remedy}") from cause


@contextmanager
def open_spool(config: DeliveryConfig, camera: str, model_hash: bytes) -> Iterator[Spool | None]:
    """Opens the spool of a source; None unless delivery is complete.

    Raises:
        UsageError: another sender uses the spool, or it contains frames of another source.
        OutputError: the spool cannot be written or read.
    """
    if config.delivery != "complete":
        yield None
        return
    source = str(Path(camera).resolve()) if os.path.exists(camera) else without_credentials(camera)
    content = SpoolContent(source, CODEC_VERSION, model_hash)
    with closing(Spool(config.spool, content, config.spool_limit_mb * 1e6)) as spool:
        yield spool
