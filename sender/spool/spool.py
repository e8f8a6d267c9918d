"""The frames that a sender has captured and not yet delivered, in order, on disk.

    DIR/session.json           session and its secret, source, codec and networks of the frames
    DIR/lock                   locked by the sender that uses the directory
    DIR/000000000256.frames    the frames from 256 on; the newest file is kept as long as the session lasts

A frame is sent (`take`) only after it is on the disk, so that the spool contains every frame of the session that a
receiver may have: after a crash of the sender or its machine, numbering continues after the last frame in the spool.
"""

import fcntl
import json
import logging
import os
import re
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.codec.packet import CODEC_VERSION
from common.errors import MalformedPacket, OutputError, UsageError, disk_remedy
from common.frames import LabelFrame
from common.io.atomic_write import atomic_write, remove_partial_files
from common.io.regular_file import open_regular
from common.wire.convert import SESSION_ID_BYTES, SESSION_SECRET_BYTES
from common.wire.label_frames import decode_label_frame, encode_label_frame
from sender.capture.cameras import without_credentials
from sender.spool.config import DeliveryConfig
from sender.spool.segment import SegmentWriter, read_segment

logger = logging.getLogger(__name__)
SESSION_FILE, LOCK_FILE = "session.json", "lock"
_VERSION = 1
_SUFFIX = ".frames"
_SEGMENT = re.compile(rf"([0-9]{{12}}){re.escape(_SUFFIX)}")
_FRAMES_PER_SEGMENT = 256
_MAX_SESSION_BYTES = 1 << 16


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


@dataclass(slots=True)
class _Segment:
    """A file that is complete.

    Args:
        first: sequence of its first frame.
        after: one after the sequence of its last frame.
    """

    path: Path
    first: int
    after: int
    size_bytes: int


class Spool:
    """A directory of frames; methods block on the disk, and only one may run at a time.

    Args:
        directory: created if missing; the session of an earlier sender is resumed.
        limit_bytes: `has_room` is False while the files are this large or larger.

    Raises:
        UsageError: another sender uses the directory, or it contains frames of another source or version.
        OutputError: here and in every method: the directory cannot be written or read.
    """

    def __init__(self, directory: Path, content: SpoolContent, limit_bytes: float) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._writer: SegmentWriter | None = None
        self._writer_first = 0
        self._segments: deque[_Segment] = deque()
        # Frames to send, in order: those read from complete files or synced, then those of the file being written.
        self._ready: deque[LabelFrame] = deque()
        self._unsynced: list[LabelFrame] = []
        self._taken = self._delivered = self._sealed_bytes = 0
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
        return self.next_sequence - self._delivered

    @property
    def has_room(self) -> bool:
        written = self._writer.size_bytes if self._writer else 0
        return written + self._sealed_bytes < self._limit_bytes

    def append(self, frame: LabelFrame) -> None:
        """Appends a frame, which survives a crash of this process.

        Raises:
            ValueError: its sequence is not `next_sequence`.
        """
        if frame.sequence != self.next_sequence:
            raise ValueError(f"frame {frame.sequence} appended instead of frame {self.next_sequence}")
        with self._reported():
            if self._writer is None or self.next_sequence - self._writer_first >= _FRAMES_PER_SEGMENT:
                self._seal()
                self._begin_segment()
            assert self._writer is not None
            self._writer.append(encode_label_frame(frame))
        self._unsynced.append(frame)
        self.next_sequence += 1

    def take(self, most: int) -> list[LabelFrame]:
        """The next frames to send, at most `most`; they are synced to the disk."""
        with self._reported():
            if not self._ready:
                self._read_ahead()
        frames = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        if frames:
            self._taken = frames[-1].sequence + 1
        return frames

    def skip(self, sequence: int) -> None:
        """Removes the frames below a sequence without sending them: the receiver has them already.

        Raises:
            UsageError: the receiver has frames of this session that the spool does not know.
        """
        if sequence > self.next_sequence:
            raise UsageError(
                f"the receiver has {sequence} frames of the session in {self._directory}, which contains only "
                f"{self.next_sequence}: it is an old copy; remove it, or give another --spool"
            )
        self._taken = max(self._taken, sequence)
        while self._ready and self._ready[0].sequence < sequence:
            self._ready.popleft()
        self.release(sequence)

    def release(self, sequence: int) -> None:
        """Marks the frames below a sequence as delivered and deletes their files."""
        self._delivered = max(self._delivered, sequence)
        with self._reported():
            while self._segments and self._segments[0].after <= self._delivered:
                if len(self._segments) == 1 and self._writer is None:
                    return  # the last file carries the numbering
                delivered = self._segments.popleft()
                delivered.path.unlink()
                self._sealed_bytes -= delivered.size_bytes

    def finish(self) -> None:
        """Ends the session: the next sender that opens the directory begins a new one."""
        with self._reported():
            # In this order: files without a session are removed later, a session without files would restart at 0.
            (self._directory / SESSION_FILE).unlink()
            self._sync_directory()
            self._close_writer()
            self._remove_segments()

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
            raise UsageError(f"another sender uses the spool {self._directory}: give --spool another one") from None
        remove_partial_files(self._directory)
        path = self._directory / SESSION_FILE
        self.resumed = path.exists()
        if self.resumed:
            self.session_id, secret = read_session(self._directory, content)
            self.session_secret = secret or secrets.token_bytes(SESSION_SECRET_BYTES)
            self._find_segments()
            if not secret:
                # The document of an earlier version: the secret is on the disk before a receiver learns it.
                self._write_session(path, content)
        else:
            self._remove_segments()
            self.session_id = secrets.token_bytes(SESSION_ID_BYTES)
            self.session_secret = secrets.token_bytes(SESSION_SECRET_BYTES)
            self.next_sequence = 0
            self._write_session(path, content)

    def _write_session(self, path: Path, content: SpoolContent) -> None:
        document: dict[str, Any] = {
            "version": _VERSION,
            "session": self.session_id.hex(),
            "secret": self.session_secret.hex(),
            "source": content.source,
            "codec": content.codec_version,
            "model": content.model_hash.hex(),
        }
        atomic_write(path, json.dumps(document).encode(), mode=0o600)
        self._sync_directory()

    def _find_segments(self) -> None:
        """Finds the files of an earlier sender; the last one may be truncated."""
        names = (_SEGMENT.fullmatch(name) for name in os.listdir(self._directory))
        firsts = sorted(int(name[1]) for name in names if name)
        self.next_sequence = firsts[0] if firsts else 0
        self._taken = self._delivered = self.next_sequence
        for number, first in enumerate(firsts):
            path = self._path(first)
            newest = number == len(firsts) - 1
            after = first + len(read_segment(path)) if newest else firsts[number + 1]
            if after > first:
                self._add_segment(_Segment(path, first, after, path.stat().st_size))
                self.next_sequence = after
            else:
                path.unlink()
                self.next_sequence = first

    def _read_ahead(self) -> None:
        """Fills `_ready` from the first file with frames to send, else from the file being written."""
        for segment in self._segments:
            if segment.after > self._taken:
                self._ready.extend(frame for frame in _frames_of(segment) if frame.sequence >= self._taken)
                if self._ready:
                    return
                logger.error("%s is damaged: frames %d to %d are lost", segment.path, self._taken, segment.after - 1)
                self._taken = segment.after
        if self._writer is not None:
            self._writer.sync()
            self._ready.extend(self._unsynced)
            self._unsynced = []

    def _seal(self) -> None:
        """Completes the file being written; its frames are read again later if others are to be sent before them."""
        if self._writer is None:
            return
        size_bytes, first = self._writer.size_bytes, self._writer_first
        self._close_writer()
        earlier = self._ready or any(segment.after > self._taken for segment in self._segments)
        self._add_segment(_Segment(self._path(first), first, self.next_sequence, size_bytes))
        if not earlier:
            self._ready.extend(self._unsynced)
        self._unsynced = []

    def _add_segment(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self._sealed_bytes += segment.size_bytes

    def _begin_segment(self) -> None:
        self._writer_first = self.next_sequence
        self._writer = SegmentWriter(self._path(self._writer_first))
        self._sync_directory()

    def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _remove_segments(self) -> None:
        for path in self._directory.glob(f"*{_SUFFIX}"):
            path.unlink()
        self._segments.clear()
        self._sealed_bytes = 0

    def _sync_directory(self) -> None:
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, first: int) -> Path:
        return self._directory / f"{first:012d}{_SUFFIX}"

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turns errors of the disk into OutputError."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            remedy = disk_remedy(error, "give another --spool")
            raise OutputError(f"the spool {self._directory}: {reason}; {remedy}") from error


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
    with closing(Spool(config.spool, spool_content(camera, model_hash), config.spool_limit_mb * 1e6)) as spool:
        yield spool


def spool_content(camera: str, model_hash: bytes) -> SpoolContent:
    """What the spool of a source, as given on the command line, contains."""
    source = str(Path(camera).resolve()) if os.path.exists(camera) else without_credentials(camera)
    return SpoolContent(source, CODEC_VERSION, model_hash)


def _frames_of(segment: _Segment) -> Iterator[LabelFrame]:
    for record in read_segment(segment.path):
        try:
            yield decode_label_frame(record)
        except MalformedPacket:
            return


def read_session(directory: Path, content: SpoolContent) -> tuple[bytes, bytes]:
    """The id and secret of the session in a spool; the secret is empty in the document of an earlier version.

    Raises:
        UsageError: the document is damaged, or the frames are of another source or version.
        OSError: the document cannot be read.
    """
    path = directory / SESSION_FILE
    try:
        with open_regular(path, _MAX_SESSION_BYTES) as file:
            document = json.loads(file.read())
        session_id, secret = bytes.fromhex(document["session"]), bytes.fromhex(document.get("secret", ""))
        source, codec, model = document["source"], int(document["codec"]), bytes.fromhex(document["model"])
        if document["version"] != _VERSION or len(session_id) != SESSION_ID_BYTES:
            raise ValueError(path)
        if len(secret) not in (0, SESSION_SECRET_BYTES):
            raise ValueError(path)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise UsageError(f"{path} cannot be read: remove {directory}, or give another --spool") from None
    if source != content.source:
        raise UsageError(
            f"the spool {directory} contains frames of {source}, not of {content.source}: "
            "deliver those first, or give another --spool"
        )
    if (codec, model) != (content.codec_version, content.model_hash):
        raise UsageError(
            f"the spool {directory} contains frames of another version of Bodywire: "
            "deliver them with that version, or give another --spool"
        )
    return session_id, secret
