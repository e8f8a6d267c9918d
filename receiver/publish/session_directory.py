"""The directory that a receiver publishes into.

    DIR/frames.jsonl            one line per frame, in order of arrival; only ever appended to
    DIR/sessions.jsonl          id and owner of each session, a line when it begins; only ever appended to
    DIR/index.json              the sessions and their frames, for readers; replaced atomically
    DIR/meshes/000123.glb       surface of frame 123 of the first session, if the frame shows one person
    DIR/meshes/000123.body.glb  its skinned body
    DIR/meshes/000123-p2.glb    surface of person 2, if the frame shows several
    DIR/meshes/s4-000123.glb    surface of frame 123 of the fourth session

Sessions are numbered from 1 in the order of their first connection. A restarted receiver continues the numbers of its
directory, and a resumed session keeps its number, so sessions never overwrite each other's files. `frames.jsonl` and
`sessions.jsonl` are the source of truth; a session's record is written before its first frame.

`index.json` is rewritten when the directory is opened and closed, and whenever as much was appended to the two others
as `_INDEX_EVERY_BYTES` and 16 times the size of the index: it costs at most one byte for 16 bytes of frames.
"""

import logging
import os
import stat
import threading
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from common.errors import OutputError
from common.io.atomic_write import remove_partial_files
from receiver.link.auth.ownership import NotOwner, SessionOwner
from receiver.mesh.mesh_files import encode_mesh
from receiver.mesh.skinned_glb import PosedBody, Skeleton, encode_body
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.config import PRIVATE_FILE, PublishConfig
from receiver.publish.frame_record import FrameRecord
from receiver.publish.line_file import LineFile, check_place
from receiver.publish.output_files import opened_folder, output_errors, publish_file
from receiver.publish.session_records import (
    SessionState,
    encode_index,
    encode_record,
    read_index,
    read_lines,
    read_records,
)
from receiver.publish.shared_sessions import SharedSessions

logger = logging.getLogger(__name__)

# With one session and one person the index is a few seconds old at most.
_INDEX_EVERY_BYTES = 256 * 1024
_FRAME_BYTES_PER_INDEX_BYTE = 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class SessionDirectory:
    """An output directory, locked by one receiver at a time; a context manager. Raises OutputError if it cannot be."""

    def __init__(self, config: PublishConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._index_path = config.out / "index.json"
        self._meshes_path = config.out / "meshes"
        self._sessions: dict[int, SessionState] = {}
        self._by_identifier: dict[str, SessionState] = {}
        self._last_number = 0
        self._indexed_bytes = self._index_every_bytes = 0
        self._index_failed = False
        _create(config)
        self.shared = SharedSessions(config.out) if config.share_sessions else None
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

    def session(self, identifier: str, owner: SessionOwner, *, durable: bool = False) -> "SessionWriter":
        """The writer of a new session, or of one that this directory already has.

        The record of a new session is in `sessions.jsonl` when this returns. A session that an older version has
        recorded without its owner belongs to the first sender that asks for it.

        Args:
            identifier: the session's id, hexadecimal.
            durable: the session's record, and each frame's meshes and then its line, are synced to disk.

        Raises:
            NotOwner: the directory, or that of another receiver with which it shares sessions, has this one from
                another owner.
            OutputError: the record cannot be written.
        """
        with self._lock:
            state = self._by_identifier.get(identifier)
            if state is None:
                if self.shared is not None:
                    self.shared.check_owner(identifier, owner)
                state = self._record(SessionState(self._last_number + 1, identifier, owner), durable)
            elif state.owner is None:
                state = self._record(replace(state, owner=owner), durable)
                logger.warning(
                    "session %d in %s was recorded by an older version, without its owner: "
                    "it belongs to the sender that continues it now",
                    state.number,
                    self.config.out,
                )
            elif not state.owner.admits(owner):
                raise NotOwner(f"session {state.number} belongs to another sender")
            elif durable:
                self._records.sync()
        return SessionWriter(self, state.number, durable)

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
        return self._sessions[number].last_sequence

    def append(self, number: int, record: FrameRecord, *, durable: bool = False) -> bool:
        """Appends a frame's line; returns False if the session already has this frame or a later one.

        Args:
            durable: sync meshes and line to disk first.

        Raises:
            OutputError: the line cannot be written, or a file of the directory was moved, removed or changed by
                another program. The line does not count.
        """
        line = (record.to_json(number) + "\n").encode()
        with self._lock:
            state = self._sessions[number]
            if record.sequence <= state.last_sequence:
                return False
            self._check_others()
            if durable and any(person.surface or person.body for person in record.people):
                self._sync(self._meshes)
            self._lines.append(line, synced=durable)
            state.frames += 1
            state.last_sequence = record.sequence
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
        self._read_sessions()
        self._write_index()
        # The files' names have to be on the disk before a durable session begins.
        self._sync(self._out)

    def _read_sessions(self) -> None:
        """Sessions from their records; frames from the index, completed from the lines that were written after it."""
        for state in read_records(self._records.path).values():
            self._add(state)
        index = read_index(self._index_path, self._lines.size_bytes)
        for indexed in index.sessions.values():
            self._add_indexed(indexed, index.version)
        for number, sequence in read_lines(self._lines.path, index.frames_bytes):
            state = self._sessions.get(number) or self._add(SessionState(number, None))
            state.frames += 1
            state.last_sequence = max(state.last_sequence, sequence)

    def _add_indexed(self, indexed: SessionState, version: int) -> None:
        recorded = self._sessions.get(indexed.number)
        if recorded is not None:
            recorded.frames, recorded.last_sequence = indexed.frames, indexed.last_sequence
        elif version == 1 and indexed.identifier is not None:
            self._record(indexed, synced=False)
        else:
            self._add(replace(indexed, identifier=None))

    def _add(self, state: SessionState) -> SessionState:
        self._sessions[state.number] = state
        self._last_number = max(self._last_number, state.number)
        if state.identifier is not None:
            self._by_identifier[state.identifier] = state
        return state

    def _record(self, state: SessionState, synced: bool) -> SessionState:
        """Adds a session, or one with another owner, after it has been recorded."""
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


class SessionWriter:
    """Writes the frames of one session."""

    def __init__(self, directory: SessionDirectory, number: int, durable: bool = False) -> None:
        self._directory = directory
        self._durable = durable
        self._config = directory.config
        self.number = number

    @property
    def last_sequence(self) -> int:
        """The highest recorded sequence number, −1 before the first frame."""
        return self._directory.last_sequence(self.number)

    def wants_meshes(self, sequence: int) -> bool:
        """Whether this frame's meshes are written (`mesh_every`)."""
        return sequence % self._config.mesh_every == 0

    def write_surface(self, sequence: int, mesh: SurfaceMesh, person: int | None = None) -> str:
        """Writes a surface and returns its path relative to the directory.

        Args:
            mesh: in camera space.
            person: its identity, if the frame shows several people.

        Raises:
            OutputError: the file cannot be written.
        """
        return self._write(self._stem(sequence, person), encode_mesh(mesh, self._config.format))

    def write_body(self, sequence: int, body: PosedBody, skeleton: Skeleton, person: int | None = None) -> str:
        """Writes a body: GLB with its skeleton, other formats as a plain mesh. Arguments as for `write_surface`."""
        glb = self._config.format == "glb"
        content = encode_body(body, skeleton) if glb else encode_mesh(body.mesh, self._config.format)
        return self._write(self._stem(sequence, person) + ".body", content)

    def write_picture(self, person: int, png: bytes, about: bytes) -> None:
        """Writes a person's key picture, and what is known about it, over an earlier one. Raises OutputError."""
        folder, mode = self._config.out / "pictures", self._config.file_mode
        with opened_folder(folder, self._config.folder_mode) as opened:
            for suffix, content in ((".png", png), (".json", about)):
                path = folder / f"s{self.number}-p{person}{suffix}"
                publish_file(path, content, synced=self._durable, mode=mode, folder=opened)

    def append(self, record: FrameRecord) -> bool:
        """Appends the frame's line to `frames.jsonl`; returns False if it is there. Raises OutputError."""
        return self._directory.append(self.number, record, durable=self._durable)

    def _stem(self, sequence: int, person: int | None) -> str:
        session = "" if self.number == 1 else f"s{self.number}-"
        return f"{session}{sequence:06d}" + ("" if person is None else f"-p{person}")

    def _write(self, stem: str, content: bytes) -> str:
        relative = f"meshes/{stem}.{self._config.format}"
        path, mode = self._config.out / relative, self._config.file_mode
        # Without complete delivery a loss of power may cost the last seconds; syncing would take half of the time.
        publish_file(path, content, synced=self._durable, mode=mode, folder=self._directory.meshes())
        return relative
