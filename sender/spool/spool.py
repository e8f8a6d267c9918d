"""The frames that a sender has captured and not yet delivered, in order, on disk.

    DIR/lock                locked by the sender that uses the directory
    DIR/000000000256.bw     a recording of the frames from 256 on, a block each; the newest one is kept as long as the
                            session lasts, because it carries the numbering

The facts of each file name the session and its secret, the source, codec and networks of the frames.  A frame is sent
(`read`) only after it is on the disk, so that the spool contains every frame of the session that a receiver may have:
after a crash of the sender or its machine, numbering continues after the last frame in the spool.
"""

import fcntl
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.codec.packet import CODEC_VERSION
from common.errors import MalformedPacket, OutputError, RecordingError, UsageError, disk_remedy
from common.frames import LabelFrame
from common.io.atomic_write import atomic_write, remove_partial_files
from common.recording.facts import RecordingFacts
from common.recording.reader import Recording
from common.recording.records import RecordedFrame
from common.recording.writer import RecordingWriter, file_head
from common.text import counted
from common.version import package_version
from common.wire.convert import SESSION_ID_BYTES, SESSION_SECRET_BYTES
from common.wire.label_frames import decode_label_frame, encode_label_frame
from sender.capture.source import without_credentials
from sender.spool.config import DeliveryConfig

logger = logging.getLogger(__name__)
LOCK_FILE = "lock"
_SEGMENT = re.compile(r"([0-9]{12})\.bw")
_FRAMES_PER_SEGMENT = 256


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
        # Size of each complete file, by the sequence of its first frame, in order; and frames of one of them.
        self._complete: dict[int, int] = {}
        self._read: tuple[int, list[LabelFrame]] = (-1, [])
        # Of the newest file: the sequence of its first frame, and its frames.
        self._newest, self._frames = 0, list[LabelFrame]()
        self.next_sequence = self.delivered = 0
        with self._reported():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        """The frames from a sequence on, at most `most`, which are synced to the disk; empty if all are damaged."""
        with self._reported():
            return self._frames_from(first)[:most]

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
            for first in list(self._complete):
                if self._after(first) > self.delivered:
                    return
                self._path(first).unlink()
                del self._complete[first]

    def finish(self) -> None:
        """Ends the session, whose frames are delivered: the next sender that opens the directory begins a new one."""
        with self._reported():
            self._close_writer()
            for first in [*self._complete, self._newest]:
                self._path(first).unlink()
            self._sync_directory()

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
        names = (_SEGMENT.fullmatch(name) for name in os.listdir(self.directory))
        firsts = sorted(int(name[1]) for name in names if name)
        self.delivered = firsts[0] if firsts else 0
        self.resumed = bool(firsts)
        if firsts:
            self._complete = {first: self._path(first).stat().st_size for first in firsts[:-1]}
            self._resume(firsts[-1], content)
        else:
            session, secret = secrets.token_hex(SESSION_ID_BYTES), secrets.token_hex(SESSION_SECRET_BYTES)
            self._facts = RecordingFacts(
                content.codec_version,
                content.model_hash.hex(),
                "spool",
                package_version(),
                sender="",
                live=False,
                session={"id": session, "secret": secret, "source": content.source},
            )
            self._begin_file(0)
        self.session_id = bytes.fromhex(self._facts.session["id"])
        self.session_secret = bytes.fromhex(self._facts.session["secret"])

    def _resume(self, first: int, content: SpoolContent) -> None:
        """Continues the newest file of an earlier sender, whose end may be cut."""
        with _open_file(self._path(first)) as recording:
            _check(recording, content)
            self._facts = recording.facts
            self._newest, self._frames = first, _frames_of(recording)
            self.next_sequence = first + len(self._frames)
            self._writer = RecordingWriter.behind(recording, len(self._frames))

    def _begin_file(self, first: int) -> None:
        if self._writer is not None:
            self._complete[self._newest] = self._writer.bytes_written
            self._read = self._newest, self._frames
            self._close_writer()
        path = self._path(first)
        atomic_write(path, file_head(self._facts), mode=0o600)
        self._sync_directory()
        self._newest, self._frames = first, []
        with _open_file(path) as recording:
            self._writer = RecordingWriter.behind(recording, 0)

    def _frames_from(self, first: int) -> list[LabelFrame]:
        """Frames from a sequence on, of the first file that has some."""
        for begin in self._complete:
            after = self._after(begin)
            if after <= first:
                continue
            if self._read[0] != begin:
                self._read = begin, self._frames_in(begin)
            frames = [frame for frame in self._read[1] if frame.sequence >= first]
            if frames:
                return frames
            lost = max(begin, first)
            logger.error("%s is damaged: frames %d to %d are lost", self._path(begin), lost, after - 1)
        if self._writer is not None:
            self._writer.sync()
        return self._frames[max(first - self._newest, 0) :]

    def _frames_in(self, first: int) -> list[LabelFrame]:
        try:
            with Recording(self._path(first)) as recording:
                return _frames_of(recording)
        except RecordingError:
            return []

    def _after(self, first: int) -> int:
        """One after the sequence of the last frame of a complete file: the first frame of the next file."""
        return min(other for other in [*self._complete, self._newest] if other > first)

    def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _sync_directory(self) -> None:
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, first: int) -> Path:
        return self.directory / f"{first:012d}.bw"

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


def _open_file(path: Path) -> Recording:
    try:
        return Recording(path)
    except RecordingError as error:
        raise UsageError(f"{error}: remove {path.parent}, or give another --spool") from None


def _frames_of(recording: Recording) -> list[LabelFrame]:
    """The frames of a file up to the first damage."""
    frames: list[LabelFrame] = []
    with suppress(RecordingError, MalformedPacket):
        for record in recording.read():
            if isinstance(record, RecordedFrame):
                frames.append(decode_label_frame(record.payload))
    return frames


def _check(recording: Recording, content: SpoolContent) -> None:
    """Raises UsageError if the recording is no file of a spool, or has frames of another source or version."""
    facts, directory = recording.facts, recording.path.parent
    if facts.recorded_by != "spool" or set(facts.session) != {"id", "secret", "source"}:
        raise UsageError(f"{recording.path} is no file of a spool: remove it, or give another --spool")
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
