"""The directory that a receiver publishes into.

    DIR/frames.jsonl            one line per frame, in order of arrival
    DIR/sessions.jsonl          id, owner and name of each session, a line when it begins or is changed
    DIR/index.json              the sessions and their frames, for readers; replaced atomically
    DIR/meshes/000123.glb       surface of frame 123 of the first session, if the frame shows one person
    DIR/meshes/000123.body.gltf its skinned body, which refers to files that frames share:
    DIR/meshes/skin-….bin       named by their content, so that they are written once and never change
    DIR/meshes/000123-p2.glb    surface of person 2, if the frame shows several
    DIR/meshes/s4-000123.glb    surface of frame 123 of the fourth session

Sessions are numbered from 1 in the order of their first connection. A restarted receiver continues the numbers of its
directory, and a resumed session keeps its number, so sessions never overwrite each other's files. `frames.jsonl` and
`sessions.jsonl` are the source of truth; a session's record is written before its first frame. Both are appended to,
and replaced where a session is deleted (`session_deletion`).

`index.json` is rewritten when the directory is opened and closed, and whenever as much was appended to the two others
as `_INDEX_EVERY_BYTES` and 16 times the size of the index: it costs at most one byte for 16 bytes of frames.
"""

import logging
import os
import stat
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from common.io.files import remove_partial_files
from receiver.config import PRIVATE_FILE, PublishConfig
from receiver.link.refusals import NotOwner, SessionOwner
from receiver.publish.files import LineFile, check_place, opened_folder, output_errors, publish_file
from receiver.publish.frame_record import FrameRecord, encode_line, mesh_path
from receiver.publish.session_records import (
    SessionInUse,
    SessionState,
    SessionUsage,
    encode_deletion,
    encode_index,
    encode_record,
    read_index,
    read_lines,
    read_records,
    remove_files,
    session_of_line,
    shared_bytes,
)

if TYPE_CHECKING:
    from receiver.publish.session_writer import SessionWriter

logger = logging.getLogger(__name__)

# With one session and one person the index is a few seconds old at most.
_INDEX_EVERY_BYTES = 256 * 1024
_FRAME_BYTES_PER_INDEX_BYTE = 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class SessionDirectory:
    """An output directory, locked by one receiver at a time; a context manager. Raises OutputError if it cannot be."""

    def __init__(self, config: PublishConfig, clock: Clock = SYSTEM_CLOCK) -> None:
        self.config = config
        self.usage = SessionUsage(clock)
        self.on_deleted: Callable[[int], object] = lambda _: None
        """Is called with the number of each session that is deleted, in the thread that does it."""
        self._clock = clock
        self._lock, self._deleting = threading.Lock(), threading.Lock()
        self._index_path = config.out / "index.json"
        self._meshes_path = config.out / "meshes"
        self._sessions: dict[int, SessionState] = {}
        self._by_identifier: dict[str, SessionState] = {}
        self._last_number = 0
        self.generation = 0
        """Grows whenever `frames.jsonl` is replaced: places in it that were noted before mean nothing then."""
        self._unfinished: set[int] = set()
        self._indexed_bytes = self._index_every_bytes = 0
        self._index_failed = False
        _create(config)
        with ExitStack() as opened:
            self._lines = opened.enter_context(
                LineFile(config.out / "frames.jsonl", mode=config.file_mode, locked=True)
            )
            self._records = opened.enter_context(LineFile(config.out / "sessions.jsonl", mode=PRIVATE_FILE))
            self._meshes = opened.enter_context(opened_folder(self._meshes_path, config.folder_mode))
            with output_errors(config.out):
                self._out = os.open(config.out, _FOLDER)
                opened.callback(os.close, self._out)
                self._take_over()
            self._opened: ExitStack | None = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Updates the index and unlocks the directory. Safe to call twice."""
        if self._opened is None:
            return
        with self._opened:
            self._opened = None
            try:
                with self._lock:
                    self._write_index()
            except OutputError as error:
                logger.warning("%s; it is rebuilt when the directory is opened again", error)

    def session(
        self, identifier: str, owner: SessionOwner, *, durable: bool = False, timely: bool = False
    ) -> "SessionWriter":
        """The writer of a new session, or of one that this directory already has.

        The record of a new session is in `sessions.jsonl` when this returns.

        Args:
            identifier: the session's id, hexadecimal.
            durable: the session's record, and each frame's meshes and then its line, are synced to disk.
            timely: no filter delays the labels of a new session.

        Raises:
            NotOwner: the directory has this session from another owner.
            OutputError: the record cannot be written.
        """
        # Meshes take a while to import: a directory that is in use is told before.
        from receiver.publish.session_writer import SessionWriter

        with self._lock:
            state = self._by_identifier.get(identifier)
            if state is None:
                new = SessionState(self._last_number + 1, identifier, owner, timely=timely)
                state = self._record(new, durable)
            elif state.owner is None or not state.owner.admits(owner):
                raise NotOwner(f"session {state.number} belongs to another sender")
            elif durable:
                self._records.sync()
            self.usage.began(state.number)
        return SessionWriter(self, state.number, durable)

    def sessions(self) -> list[SessionState]:
        """The sessions as they are now, in the order of their numbers."""
        with self._lock:
            return [replace(state, statistics=state.statistics.copy()) for _, state in sorted(self._sessions.items())]

    def change(self, number: int, *, name: str | None = None, hidden: Collection[int] | None = None) -> bool:
        """Gives a session a name, or none, and takes people out of it; returns whether there is such a session.

        Args:
            hidden: identities of all who are out; others come back. None for no change.

        Raises:
            OutputError: the change cannot be recorded.
        """
        with self._lock:
            state = self._sessions.get(number)
            if state is None or state.identifier is None:
                return False
            name, hidden = state.name if name is None else name, state.hidden if hidden is None else hidden
            self._record(replace(state, name=name, hidden=tuple(sorted(set(hidden)))), synced=True)
        return True

    def delete(self, numbers: Collection[int]) -> None:
        """Deletes sessions with all their files; numbers that are not there are left out. May take seconds.

        Whoever downloads or exports one gets no more of it: a slow reader must not keep what somebody wants to be gone.

        Raises:
            SessionInUse: one is live, and none was deleted.
            OutputError: not all could be deleted; what is left is deleted when the directory is opened again.
        """
        with self._deleting, output_errors(self.config.out):
            with self._lock:
                for number in self.usage.live().intersection(numbers):
                    raise SessionInUse(f"session {number} is live: stop its sender, and try again")
                present = [number for number in numbers if number in self._sessions]
                if present:
                    self._records.append(b"".join(map(encode_deletion, present)), synced=True)
                for number in present:
                    state = self._sessions.pop(number)
                    self._by_identifier.pop(state.identifier or "", None)
                    self.on_deleted(number)
            self._finish_deletion(present)

    def _finish_deletion(self, more: Collection[int]) -> None:
        """Removes files and lines of sessions that `sessions.jsonl` says are deleted, and of what has failed before."""
        self._unfinished.update(more)
        numbers = self._unfinished.copy()
        if not numbers:
            return
        # First, because the copies need room on a disk that may be full.
        remove_files(self.config.out, numbers)
        # A damaged line, which nobody can read, may be of one of them.
        copy = self._lines.copy(lambda line: session_of_line(line) not in {None, *numbers})
        with self._lines.kept_open(), self._lock:
            self._index_path.unlink(missing_ok=True)
            os.fsync(self._out)
            self._lines.replace(copy)
            self.generation += 1
            last = encode_deletion(self._last_number)
            kept = {None, *self._sessions}
            self._records.replace(self._records.copy(lambda line: session_of_line(line) in kept or line == last))
            self._write_index()
            os.fsync(self._out)
            self._unfinished -= numbers

    def meshes(self) -> int:
        """The folder of the meshes, opened. Raises OutputError if it was moved, removed or replaced."""
        try:
            check_place(self._meshes_path, self._meshes)
        except OutputError:
            self.check()  # a directory that was moved as a whole is the better explanation
            raise
        return self._meshes

    def last_sequence(self, number: int) -> int:
        """The highest recorded sequence number of a session, −1 before its first frame."""
        state = self._sessions.get(number)
        return -1 if state is None else state.last_sequence

    def append(self, number: int, record: FrameRecord, *, durable: bool = False, mesh_bytes: int = 0) -> bool:
        """Appends a frame's line; returns False if the session has this frame or a later one, or was deleted.

        Args:
            durable: sync meshes and line to disk first.
            mesh_bytes: of the frame's meshes.

        Raises:
            OutputError: the line cannot be written, or a file of the directory was moved, removed or changed by
                another program. The line does not count.
        """
        fields = record.as_dict(number, labels=True)
        line = (encode_line(fields) + "\n").encode()
        with self._lock:
            state = self._sessions.get(number)
            if state is None or record.sequence <= state.last_sequence:
                return False
            self._check_others()
            if durable and any(person.surface or person.body for person in record.people):
                self._sync(self._meshes)
            self._lines.append(line, synced=durable)
            state.frames += 1
            state.last_sequence = record.sequence
            state.statistics.add(fields, len(line) + mesh_bytes, self._clock.wall())
            self._checkpoint()
        return True

    def check(self) -> None:
        """Raises OutputError if another program has moved, removed, replaced or changed the files."""
        with self._lock:
            self._check_others()
            self._lines.check()

    def _check_others(self) -> None:
        """Checks what `LineFile.append` does not check."""
        self._records.check()
        check_place(self._meshes_path, self._meshes)

    def _take_over(self) -> None:
        """Removes partial files of a killed receiver, and reads the sessions."""
        if stat.S_IMODE(self._records.path.stat().st_mode) != PRIVATE_FILE:
            self._records.path.chmod(PRIVATE_FILE)
        for folder in (self._out, self._meshes):
            remove_partial_files(folder)
        self._finish_deletion(self._read_sessions())
        self._write_index()
        # The files' names have to be on the disk before a durable session begins.
        self._sync(self._out)

    def _read_sessions(self) -> Collection[int]:
        """Sessions from their records; frames from the index, completed from the lines that were written after it.

        Returns:
            the sessions whose deletion has begun, but of which there is still something.
        """
        records = read_records(self._records.path)
        for state in records.sessions.values():
            self._add(state)
        self._last_number = max((self._last_number, *records.deleted))
        index = read_index(self._index_path, self._lines.size_bytes)
        unfinished = records.unfinished | (index.sessions.keys() & records.deleted)
        for indexed in index.sessions.values():
            if indexed.number not in records.deleted:
                state = self._sessions.get(indexed.number) or self._add(indexed)
                state.frames, state.last_sequence = indexed.frames, indexed.last_sequence
                state.statistics = indexed.statistics
        lines_at, indexed_at = os.stat(self._lines.path).st_mtime, 0.0
        if index.sessions:
            with suppress(OSError):
                indexed_at = os.stat(self._index_path).st_mtime
        for number, size_bytes in shared_bytes(self._meshes, indexed_at).items():
            if number in self._sessions:
                self._sessions[number].statistics.disk_bytes += size_bytes
        for number, sequence, line, size in read_lines(self._lines.path, index.frames_bytes):
            if number in records.deleted:
                unfinished |= {number}
                continue
            state = self._sessions.get(number) or self._add(SessionState(number, None))
            state.frames += 1
            state.last_sequence = max(state.last_sequence, sequence)
            mesh_bytes, written_at = self._meshes_of(line)
            state.statistics.add(line, size + mesh_bytes, written_at or lines_at)
        return unfinished

    def _meshes_of(self, line: Mapping[str, Any]) -> tuple[int, float]:
        """Bytes of the meshes of a line that was read, and when the last of them was written; 0 without any."""
        size_bytes, written_at = 0, 0.0
        with suppress(KeyError, ValueError, TypeError):  # somebody may have edited it
            paths = [mesh_path(person[kind]) for person in line["people"] for kind in ("surface", "body")]
            for path in filter(None, paths):
                with suppress(OSError):
                    found = os.stat(path.removeprefix("meshes/"), dir_fd=self._meshes, follow_symlinks=False)
                    size_bytes, written_at = size_bytes + found.st_size, max(written_at, found.st_mtime)
        return size_bytes, written_at

    def _add(self, state: SessionState) -> SessionState:
        self._sessions[state.number] = state
        self._last_number = max(self._last_number, state.number)
        if state.identifier is not None:
            self._by_identifier[state.identifier] = state
        return state

    def _record(self, state: SessionState, synced: bool) -> SessionState:
        """Adds a session, or one with another name, after it has been recorded."""
        self._records.append(encode_record(state), synced=synced)
        return self._add(state)

    def _sync(self, folder: int) -> None:
        """Syncs a folder's entries to disk."""
        with output_errors(self.config.out):
            os.fsync(folder)

    def _checkpoint(self) -> None:
        """Rewrites the index if enough was appended since, or if it was removed."""
        full = self._appended_bytes - self._indexed_bytes >= self._index_every_bytes
        if not full and (self._index_failed or self._index_path.exists()):
            return
        try:
            self._write_index()
        except OutputError as error:
            # The frame is recorded all the same, and the index can be rebuilt.
            logger.warning("%s; it is written again later", error)
            self._index_failed = True
            self._indexed_bytes = self._appended_bytes

    def _write_index(self) -> None:
        # The index must not survive a loss of power in which records or lines that it covers are lost.
        self._records.sync()
        self._lines.sync()
        content = encode_index(self._lines.size_bytes, self._sessions.values())
        publish_file(self._index_path, content, mode=self.config.file_mode, folder=self._out)
        self._index_failed = False
        self._indexed_bytes = self._appended_bytes
        self._index_every_bytes = max(_INDEX_EVERY_BYTES, _FRAME_BYTES_PER_INDEX_BYTE * len(content))

    @property
    def _appended_bytes(self) -> int:
        return self._lines.size_bytes + self._records.size_bytes


def _create(config: PublishConfig) -> None:
    """Creates the directory; an existing one keeps its permissions, with a warning if they are wide."""
    with output_errors(config.out):
        config.out.mkdir(parents=True, exist_ok=True, mode=config.folder_mode)
        mode = stat.S_IMODE(config.out.stat().st_mode)
    if mode & 0o022:
        logger.warning("other users of this machine can replace files in %s: chmod go-w %s", config.out, config.out)
    elif mode & 0o055 and not config.share_output:
        logger.warning(
            "other users of this machine can read %s: chmod 700 %s, or give --share-output", config.out, config.out
        )
