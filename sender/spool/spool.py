"""The frames that a sender has taken in and not yet delivered, in order, on disk.

    DIR/session.json           whose frames these are: session, source, codec and networks
    DIR/lock                   held by the one sender that uses the directory
    DIR/000000000256.frames    the frames from 256 on; the newest file is never taken away while the session lasts

A frame leaves (`take`) only after it is on the disk here, so that whatever a receiver has seen of a session, the spool
knows of: a sender that was killed, or whose machine was, goes on with the number after the last one that it kept.
"""

import fcntl
import json
import logging
import os
import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import MalformedPacket, OutputError, UsageError
from common.frames import LabelFrame
from common.io.atomic_write import atomic_write
from common.wire.convert import SESSION_ID_BYTES
from common.wire.label_frames import decode_label_frame, encode_label_frame
from sender.spool.segment import SegmentWriter, read_segment

logger = logging.getLogger(__name__)

_VERSION = 1
_SUFFIX = ".frames"
_FRAMES_PER_SEGMENT = 256


@dataclass(frozen=True, slots=True)
class SpoolContent:
    """What the frames of a spool are, and must be for a sender to go on with them.

    Args:
        source: where they were captured, as the command line names it.
        codec_version, model_hash: what labels mean.
    """

    source: str
    codec_version: int
    model_hash: bytes


@dataclass(slots=True)
class _Segment:
    """A file that is not written to any more.

    Args:
        first: the sequence of its first frame.
        after: one after that of its last.
        size: in bytes.
    """

    path: Path
    first: int
    after: int
    size: int


class Spool:
    """A directory of frames; every method may wait for the disk, and only one may run at a time.

    Args:
        directory: made if missing; what an earlier sender left there goes on.
        limit_bytes: `has_room` is False while so much or more is kept.

    Raises:
        UsageError: the directory is another sender's, or holds undelivered frames of something else.
        OutputError: here and in every method: it cannot be written or read.
    """

    def __init__(self, directory: Path, content: SpoolContent, limit_bytes: float) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._writer: SegmentWriter | None = None
        self._writer_first = 0
        self._segments: deque[_Segment] = deque()
        # Frames of the file that is being written, and frames that were read from others: in order, `_ahead` first.
        self._fresh: list[LabelFrame] = []
        self._ahead: deque[LabelFrame] = deque()
        self._taken = self._delivered = self._sealed_bytes = 0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._cannot(error) from error
        try:
            self._take_over(content)
        except OSError as error:
            self.close()
            raise self._cannot(error) from error
        except BaseException:
            self.close()
            raise

    @property
    def pending(self) -> int:
        """How many frames are not delivered yet."""
        return self.next_sequence - self._delivered

    @property
    def has_room(self) -> bool:
        """Whether a frame may be appended."""
        written = self._writer.bytes_written if self._writer else 0
        return written + self._sealed_bytes < self._limit_bytes

    def append(self, frame: LabelFrame) -> None:
        """Takes a frame in; it outlives this process.

        Raises:
            ValueError: it is not the frame `next_sequence`.
        """
        if frame.sequence != self.next_sequence:
            raise ValueError(f"frame {frame.sequence} came where {self.next_sequence} was due")
        try:
            if self._writer is None or self.next_sequence - self._writer_first >= _FRAMES_PER_SEGMENT:
                self._seal()
                self._begin_segment()
            assert self._writer is not None
            self._writer.append(encode_label_frame(frame))
        except OSError as error:
            raise self._cannot(error) from error
        self._fresh.append(frame)
        self.next_sequence += 1

    def take(self, most: int) -> list[LabelFrame]:
        """The next frames to send, at most so many; they are on the disk itself when this returns."""
        try:
            if not self._ahead:
                self._look_ahead()
        except OSError as error:
            raise self._cannot(error) from error
        frames = [self._ahead.popleft() for _ in range(min(most, len(self._ahead)))]
        if frames:
            self._taken = frames[-1].sequence + 1
        return frames

    def skip(self, sequence: int) -> None:
        """Everything below a sequence is with the receiver already: it is neither sent nor kept.

        Raises:
            UsageError: the receiver has frames of this session that were never here.
        """
        if sequence > self.next_sequence:
            raise UsageError(
                f"the receiver has {sequence} frames of the session in {self._directory}, which holds only "
                f"{self.next_sequence}: it is an old copy; remove it, or give another --spool"
            )
        self._taken = max(self._taken, sequence)
        while self._ahead and self._ahead[0].sequence < sequence:
            self._ahead.popleft()
        self.release(sequence)

    def release(self, sequence: int) -> None:
        """Everything below a sequence is delivered, and its files may go."""
        self._delivered = max(self._delivered, sequence)
        try:
            while self._segments and self._segments[0].after <= self._delivered:
                if len(self._segments) == 1 and self._writer is None:
                    return  # the last file says where to go on
                done = self._segments.popleft()
                done.path.unlink()
                self._sealed_bytes -= done.size
        except OSError as error:
            raise self._cannot(error) from error

    def finish(self) -> None:
        """Ends the session: the next sender that opens the directory begins another one."""
        try:
            # In this order: files without a session are nobody's, a session without its files would count anew.
            (self._directory / "session.json").unlink()
            self._sync_directory()
            self._close_writer()
            self._remove_segments()
        except OSError as error:
            raise self._cannot(error) from error

    def close(self) -> None:
        """Leaves the directory to the next sender; what is undelivered stays. Safe to call twice."""
        if self._lock >= 0:
            try:
                self._close_writer()
            finally:
                os.close(self._lock)
                self._lock = -1

    def _take_over(self, content: SpoolContent) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another sender uses the spool {self._directory}: give --spool another one") from None
        path = self._directory / "session.json"
        self.resumed = path.exists()
        if self.resumed:
            self.session_id = self._read_session(path, content)
            self._find_segments()
        else:
            self._remove_segments()
            self.session_id = secrets.token_bytes(SESSION_ID_BYTES)
            self.next_sequence = 0
            self._write_session(path, content)

    def _read_session(self, path: Path, content: SpoolContent) -> bytes:
        try:
            told = json.loads(path.read_bytes())
            session_id = bytes.fromhex(told["session"])
            source, codec, model = told["source"], int(told["codec"]), bytes.fromhex(told["model"])
            if told["version"] != _VERSION or len(session_id) != SESSION_ID_BYTES:
                raise ValueError(path)
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{path} cannot be read as a spool's: remove {self._directory}, or give another --spool"
            ) from None
        if source != content.source:
            raise UsageError(
                f"the spool {self._directory} holds frames of {source}, not of {content.source}: "
                "send that to its end first, or give another --spool"
            )
        if (codec, model) != (content.codec_version, content.model_hash):
            raise UsageError(
                f"the spool {self._directory} holds frames of another version of Bodywire: "
                "deliver them with that, or give another --spool"
            )
        return session_id

    def _write_session(self, path: Path, content: SpoolContent) -> None:
        told: dict[str, Any] = {
            "version": _VERSION,
            "session": self.session_id.hex(),
            "source": content.source,
            "codec": content.codec_version,
            "model": content.model_hash.hex(),
        }
        atomic_write(path, json.dumps(told).encode())
        self._sync_directory()

    def _find_segments(self) -> None:
        """Takes stock of what an earlier sender left; the end of its last file may be torn."""
        firsts = sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}"))
        self.next_sequence = firsts[0] if firsts else 0
        self._taken = self._delivered = self.next_sequence
        for number, first in enumerate(firsts):
            path = self._path(first)
            newest = number == len(firsts) - 1
            after = first + len(read_segment(path)) if newest else firsts[number + 1]
            if after > first:
                self._keep(_Segment(path, first, after, path.stat().st_size))
                self.next_sequence = after
            else:
                path.unlink()
                self.next_sequence = first

    def _look_ahead(self) -> None:
        """Fills `_ahead` from the first file with frames to send, or with what is being written."""
        for segment in self._segments:
            if segment.after > self._taken:
                self._ahead.extend(frame for frame in _frames_of(segment) if frame.sequence >= self._taken)
                if self._ahead:
                    return
                logger.error("%s is damaged: frames %d to %d are lost", segment.path, self._taken, segment.after - 1)
                self._taken = segment.after
        if self._writer is not None:
            self._writer.sync()
            self._ahead.extend(self._fresh)
            self._fresh = []

    def _seal(self) -> None:
        """Ends the file that is being written; its frames are on disk, and wait there if others are before them."""
        if self._writer is None:
            return
        size, first = self._writer.bytes_written, self._writer_first
        self._close_writer()
        waiting = self._ahead or any(segment.after > self._taken for segment in self._segments)
        self._keep(_Segment(self._path(first), first, self.next_sequence, size))
        if not waiting:
            self._ahead.extend(self._fresh)
        self._fresh = []

    def _keep(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self._sealed_bytes += segment.size

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

    def _cannot(self, error: OSError) -> OutputError:
        reason = error.strerror or str(error)
        return OutputError(f"the spool {self._directory}: {reason}; free some space or give another --spool")


def _frames_of(segment: _Segment) -> Iterator[LabelFrame]:
    for record in read_segment(segment.path):
        try:
            yield decode_label_frame(record)
        except MalformedPacket:
            return
