"""Writes the frames of one session, and how long the faces of its people have been seen."""

import os
from functools import partial
from typing import Protocol

from common.frames import PersonLabels, has_face
from receiver.config import PublishConfig
from receiver.mesh.mesh_files import encode_mesh
from receiver.mesh.rigged_body import RiggedBodies
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.files import publish_file
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_records import SessionUsage

# Between frames that are farther apart the face was not seen; after so long an identity may be somebody else.
_MOST_STEP_S, _FORGOTTEN_S = 0.5, 60.0


class FacesSeen:
    """Of one session."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float]] = {}

    def seconds(self, person: PersonLabels, captured_at: float) -> float | None:
        """Seconds for which a person's face was seen until now; None without a face."""
        if not has_face(person):
            return None
        total_s, last_at = self._seen.get(person.identity, (0.0, captured_at))
        step_s = captured_at - last_at
        if abs(step_s) > _FORGOTTEN_S:
            total_s = 0.0
        elif 0 < step_s <= _MOST_STEP_S:
            total_s += step_s
        self._seen[person.identity] = total_s, captured_at
        return total_s


class FrameDirectory(Protocol):
    """The directory of all sessions, as a writer needs it; see `SessionDirectory`."""

    config: PublishConfig
    usage: SessionUsage

    def meshes(self) -> int: ...

    def last_sequence(self, number: int) -> int: ...

    def append(self, number: int, record: FrameRecord, *, durable: bool, mesh_bytes: int) -> bool: ...


class SessionWriter:
    """Writes the frames of one session."""

    def __init__(self, directory: FrameDirectory, number: int, durable: bool = False) -> None:
        self._directory = directory
        self._durable = durable
        self._config = directory.config
        self._mesh_bytes = 0
        self.number = number
        self._prefix = "" if number == 1 else f"s{number}-"
        self._bodies = RiggedBodies(self._prefix)
        self.faces = FacesSeen()

    def close(self) -> None:
        """The sender has ended; what it has written stays."""
        self._directory.usage.ended(self.number)

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
        return self._write_mesh(self._stem(sequence, person), mesh)

    def write_body(self, sequence: int, body: PosedBody, skeleton: Skeleton, person: int | None = None) -> str:
        """Writes a body: glTF with its skeleton, other formats as a plain mesh. Arguments as for `write_surface`."""
        stem = self._stem(sequence, person) + ".body"
        if self._config.format != "glb":
            return self._write_mesh(stem, body.mesh)
        folder = self._directory.meshes()
        is_written = partial(os.access, mode=os.F_OK, dir_fd=folder, follow_symlinks=False)
        document, files = self._bodies.encode(person, body, skeleton, is_written)
        # First, so that whoever finds a document finds what it refers to.
        for name, content in files.items():
            self._write(name, content)
        return self._write(f"{stem}.gltf", document)

    def append(self, record: FrameRecord) -> bool:
        """Appends the frame's line to `frames.jsonl`; returns False if it is there. Raises OutputError."""
        mesh_bytes, self._mesh_bytes = self._mesh_bytes, 0
        return self._directory.append(self.number, record, durable=self._durable, mesh_bytes=mesh_bytes)

    def _stem(self, sequence: int, person: int | None) -> str:
        return f"{self._prefix}{sequence:06d}" + ("" if person is None else f"-p{person}")

    def _write_mesh(self, stem: str, mesh: SurfaceMesh) -> str:
        return self._write(f"{stem}.{self._config.format}", encode_mesh(mesh, self._config.format, quantised=True))

    def _write(self, name: str, content: bytes) -> str:
        relative = f"meshes/{name}"
        path, mode = self._config.out / relative, self._config.file_mode
        # Without complete delivery a loss of power may cost the last seconds; syncing would take half of the time.
        publish_file(path, content, synced=self._durable, mode=mode, folder=self._directory.meshes())
        self._mesh_bytes += len(content)
        return relative


class UnrecordedWriter(SessionWriter):
    """Of a session of which nothing is written; its number is 0."""

    def __init__(self) -> None:
        self.number, self.faces = 0, FacesSeen()

    def close(self) -> None:
        """Nothing is left of it."""

    @property
    def last_sequence(self) -> int:
        """No frame is recorded."""
        return -1

    def wants_meshes(self, sequence: int) -> bool:
        """No meshes are written."""
        return False

    def append(self, record: FrameRecord) -> bool:
        """The record is for those who observe the session."""
        return True
