"""The directory that a receiver publishes into.

    DIR/frames.jsonl            one line per frame, in order of arrival; only ever appended to
    DIR/index.json              the sessions, replaced atomically
    DIR/meshes/000123.glb       surface of frame 123 of the first session, if the frame shows one person
    DIR/meshes/000123.body.glb  its skinned body
    DIR/meshes/000123-p2.glb    surface of person 2, if the frame shows several
    DIR/meshes/s4-000123.glb    surface of frame 123 of the fourth session

Sessions are numbered from 1 in the order of their first connection. A restarted receiver continues the numbers of its
directory, and a resumed session keeps its number, so sessions never overwrite each other's files. `frames.jsonl` is the
source of truth; `index.json` is updated from it when the directory is opened.
"""

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from common.errors import OutputError
from common.io.configuration import option
from receiver.mesh.mesh_files import encode_mesh, output_error, publish_file
from receiver.mesh.skinned_glb import PosedBody, Skeleton, encode_body
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import FrameRecord

logger = logging.getLogger(__name__)

# Between openings the index only informs readers: once a second at 30 frames a second is enough.
_INDEX_EVERY_FRAMES = 30


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """The output files of the receiver.

    Args:
        out: output directory, created if missing.
        format: mesh file format.
        mesh_every: write meshes for every n-th frame of a session; its line in `frames.jsonl` is always written.
        body: write the skinned body beside the surface.
    """

    out: Path = option(Path("out"), help="output directory for meshes and frames.jsonl")
    format: Literal["glb", "obj", "ply"] = option("glb", help="mesh format: glb, obj or ply")
    mesh_every: int = option(1, help="write meshes for every n-th frame")
    body: bool = option(True, help="write the skinned body beside the surface")

    def __post_init__(self) -> None:
        if self.mesh_every < 1:
            raise ValueError(f"mesh-every must be at least 1, got {self.mesh_every}")


@dataclass(slots=True)
class _SessionState:
    """A session's entry in the index."""

    number: int
    identifier: str | None
    frames: int = 0
    last_sequence: int = -1


class SessionDirectory:
    """An output directory, locked by one receiver at a time; a context manager.

    Raises:
        OutputError: the directory cannot be created, written or read, or another receiver has locked it.
    """

    def __init__(self, config: PublishConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._lines_path = config.out / "frames.jsonl"
        self._index_path = config.out / "index.json"
        self._unindexed = 0
        try:
            (config.out / "meshes").mkdir(parents=True, exist_ok=True)
            self._lines = os.open(self._lines_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            folder = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._folder, self._meshes = os.open(config.out, folder), os.open(config.out / "meshes", folder)
        except OSError as error:
            raise output_error(config.out, error) from error
        try:
            self._take_over()
        except BaseException:
            self._close_all()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Updates the index and unlocks the directory."""
        if self._lines < 0:
            return
        try:
            with self._lock:
                self._write_index()
        finally:
            self._close_all()

    def session(self, identifier: str, *, durable: bool = False) -> "SessionWriter":
        """The writer of a new session, or of one that this directory already has.

        Args:
            identifier: the session's id, hexadecimal.
            durable: `append` returns when the frame's meshes and then its line are synced to disk.

        Raises:
            OutputError: the index cannot be written.
        """
        with self._lock:
            for state in self._sessions.values():
                if state.identifier == identifier:
                    return SessionWriter(self, state.number, durable)
            number = max(self._sessions, default=0) + 1
            self._sessions[number] = _SessionState(number, identifier)
            self._write_index()
            if durable:
                # Only the index maps the id to the session number.
                self._sync(self._folder)
        return SessionWriter(self, number, durable)

    def last_sequence(self, number: int) -> int:
        """The highest recorded sequence number of a session, −1 before its first frame."""
        return self._sessions[number].last_sequence

    def append(self, number: int, record: FrameRecord, *, durable: bool = False) -> bool:
        """Appends a frame's line; returns False if the session already has this frame or a later one.

        Args:
            number: the session's number.
            record: the frame.
            durable: sync meshes and line to disk first.

        Raises:
            OutputError: the line cannot be written; the file is unchanged.
        """
        line = (record.to_json(number) + "\n").encode()
        with self._lock:
            state = self._sessions[number]
            if record.sequence <= state.last_sequence:
                return False
            if durable and any(person.surface or person.body for person in record.people):
                self._sync(self._meshes)
            self._write_line(line)
            if durable:
                self._sync(self._lines)
            state.frames += 1
            state.last_sequence = record.sequence
            self._unindexed += 1
            if self._unindexed >= _INDEX_EVERY_FRAMES:
                self._write_index()
        return True

    def _close_all(self) -> None:
        for descriptor in (self._lines, self._folder, self._meshes):
            os.close(descriptor)
        self._lines = -1

    def _take_over(self) -> None:
        """Locks the directory, removes partial files of a killed receiver, and reads the sessions."""
        try:
            fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"another receiver writes into {self.config.out}; choose another --out") from error
        try:
            for partial in (*self.config.out.glob(".*.partial"), *(self.config.out / "meshes").glob(".*.partial")):
                partial.unlink()
            self._cut_torn_line()
            self._sessions = self._read_sessions()
        except OSError as error:
            raise output_error(self.config.out, error) from error
        self._write_index()

    def _cut_torn_line(self) -> None:
        """Removes a last line without a newline: its write was interrupted."""
        size = os.fstat(self._lines).st_size
        keep = size
        while keep > 0:
            start = max(0, keep - 65536)
            newline = os.pread(self._lines, keep - start, start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            logger.warning("removed an unfinished line of %d bytes from %s", size - keep, self._lines_path)
            os.ftruncate(self._lines, keep)

    def _read_sessions(self) -> dict[int, _SessionState]:
        """Sessions from the index, completed from the lines that were written after it."""
        sessions, counted = _read_index(self._index_path, os.fstat(self._lines).st_size)
        for number, sequence in _read_lines(self._lines_path, counted):
            state = sessions.setdefault(number, _SessionState(number, None))
            state.frames += 1
            state.last_sequence = max(state.last_sequence, sequence)
        return sessions

    def _write_line(self, line: bytes) -> None:
        """Appends with one write(); an incomplete write is truncated away."""
        size = os.fstat(self._lines).st_size
        try:
            written = os.write(self._lines, line)
            if written < len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lines, size)
            raise output_error(self._lines_path, error) from error

    def _sync(self, descriptor: int) -> None:
        """Syncs a file's content or a directory's entries to disk."""
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise output_error(self.config.out, error) from error

    def _write_index(self) -> None:
        index = {
            "version": 1,
            "frames_bytes": os.fstat(self._lines).st_size,
            "sessions": [
                {"session": s.number, "id": s.identifier, "frames": s.frames, "last_seq": s.last_sequence}
                for s in self._sessions.values()
            ],
        }
        publish_file(self._index_path, json.dumps(index, indent=1).encode())
        self._unindexed = 0


def _read_index(path: Path, lines_bytes: int) -> tuple[dict[int, _SessionState], int]:
    """The sessions of the index and the bytes of `frames.jsonl` that it covers; none if the index is unusable."""
    try:
        index = json.loads(path.read_bytes())
        sessions = {
            int(s["session"]): _SessionState(int(s["session"]), s["id"], int(s["frames"]), int(s["last_seq"]))
            for s in index["sessions"]
        }
        counted = int(index["frames_bytes"])
    except FileNotFoundError:
        return {}, 0
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged; rebuilding it", path)
        return {}, 0
    if 0 <= counted <= lines_bytes:
        return sessions, counted
    # frames.jsonl was truncated from outside: keep the session ids, count the frames again.
    return {n: _SessionState(n, s.identifier) for n, s in sessions.items()}, 0


def _read_lines(path: Path, start: int) -> Iterator[tuple[int, int]]:
    """Session and sequence number of each line from byte `start`; other lines are skipped with a warning."""
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            try:
                record = json.loads(line)
                yield int(record["session"]), int(record["seq"])
            except (ValueError, KeyError, TypeError):
                logger.warning("%s has a line that is not a frame record: %.40r", path, line)


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
            sequence: the frame's sequence number.
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

    def append(self, record: FrameRecord) -> bool:
        """Appends the frame's line to `frames.jsonl`; returns False if it is already there.

        Raises:
            OutputError: the line cannot be written.
        """
        return self._directory.append(self.number, record, durable=self._durable)

    def _stem(self, sequence: int, person: int | None) -> str:
        session = "" if self.number == 1 else f"s{self.number}-"
        return f"{session}{sequence:06d}" + ("" if person is None else f"-p{person}")

    def _write(self, stem: str, content: bytes) -> str:
        relative = f"meshes/{stem}.{self._config.format}"
        publish_file(self._config.out / relative, content)
        return relative
