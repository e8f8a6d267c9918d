"""Live frames for browsers: what each watches, as binary messages with a JSON header and arrays.

    uint32      length L of the header, little-endian
    L bytes     header, UTF-8 JSON, padded with spaces so that the payload begins at a multiple of four
    payload     arrays, little-endian; the header gives each one's offset in the payload, a multiple of four

A vertex is three uint16 on a grid over its mesh's bounding box: position = origin + scale · number, metres in camera
space. For a person the grid's step is below 0.04 mm. Bodies have one topology, and so have surfaces: each is sent once,
before the first frame that needs it.

Passes frames on to the browsers that watch: published ones, and people posed as they are predicted
to be. A browser blends from where people are to the newest mesh, which shows them as they will be when it is there.

Of each session the hub keeps the newest frame, and each watcher takes the newest one when it can: a slow browser misses
frames and delays nobody. Everything runs in the event loop; nothing but `LivePoses` waits.
"""

import asyncio
import functools
import json
import logging
import math
import struct
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from common.blobs import PREVIEW, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.frames import LabelFrame
from common.texture.face_picture import LiveFace
from receiver.engine.engine import ReconstructedPerson
from receiver.link.session import Session
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.motion.playout import PlayoutBuffer
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import SessionObserver
from receiver.texture.live_face import SHOWN_S, FaceLaying

BODY_TOPOLOGY = "body"
"""Name of the topology that all bodies share."""

_STEPS = 65_535
_ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class QuantisedMesh:
    """A mesh as it travels.

    Args:
        origin: (3,) metres; the smallest coordinates.
        scale: (3,) metres per step.
        vertices: (V, 3) uint16.
        topology: name of the triangles.
        colours: (V, 3) uint8 RGB, or None.
    """

    origin: FloatArray
    scale: FloatArray
    vertices: np.ndarray[Any, np.dtype[np.uint16]]
    topology: str
    colours: ByteArray | None

    @classmethod
    def from_mesh(cls, mesh: SurfaceMesh, topology: str) -> "QuantisedMesh":
        """Quantises a mesh, whose faces are those of a topology with this name."""
        origin = mesh.vertices.min(axis=0)
        # A flat mesh has one step of any size.
        scale = np.maximum(mesh.vertices.max(axis=0) - origin, 1e-6) / _STEPS
        vertices = np.rint((mesh.vertices - origin) / scale).astype("<u2")
        return cls(origin, scale, vertices, topology, mesh.colours)


class Payload:
    """Arrays one behind the other; `add` returns an array's entry for the header."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: np.ndarray[Any, Any]) -> dict[str, int]:
        """Appends an array; its first axis is counted."""
        data = array.tobytes()
        entry = {"offset": self._size, "count": len(array)}
        padding = -len(data) % _ALIGNMENT
        self._parts += [data, bytes(padding)]
        self._size += len(data) + padding
        return entry

    def message(self, header: Mapping[str, Any]) -> bytes:
        """The whole message."""
        return binary_message(header, b"".join(self._parts))


def binary_message(header: Mapping[str, Any], payload: bytes) -> bytes:
    """A header and its payload."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<I", len(text)) + text + payload


def sessions_message(sessions: Sequence[Mapping[str, object]]) -> str:
    """What a browser gets about each session."""
    return json.dumps({"type": "sessions", "sessions": sessions}, separators=(",", ":"))


def topology_message(name: str, faces: Int32Array, vertex_count: int, limbs: ByteArray | None = None) -> bytes:
    """A topology that meshes have in common: (F, 3) faces over `vertex_count` vertices, and the vertices' limbs."""
    payload = Payload()
    header = {
        "type": "topology",
        "name": name,
        "vertices": vertex_count,
        "faces": _add_indices(payload, faces, vertex_count),
        **({} if limbs is None else {"limbs": payload.add(limbs)}),
    }
    return payload.message(header)


def frame_message(header: Mapping[str, Any], people: Sequence[tuple[int, QuantisedMesh, bool]]) -> bytes:
    """One frame: a header, and identity and mesh of each person, and whether their colours are sent."""
    payload = Payload()
    entries = [_person(payload, *person) for person in people]
    return payload.message({**header, "people": entries})


def texture_coordinates_message(topology: str, corners: TextureCorners, face: FloatArray) -> bytes:
    """Where the triangles of a topology are in textures, as the corners at which a vertex's copy takes its place.

    Args:
        face: (N, ≥ 3) place in the chart of faces and opacity of each vertex (`receiver.texture.live_face`).
    """
    payload = Payload()
    vertex_count = int(corners.vertex.max()) + 1
    corner_vertices = corners.faces.ravel()
    moved = np.flatnonzero(corner_vertices >= vertex_count)
    header = {
        "type": "texture_coordinates",
        "topology": topology,
        "coordinates": payload.add(np.rint(corners.coordinates.clip(0, 1) * _STEPS).astype("<u2")),
        "copies": _add_indices(payload, corners.vertex[vertex_count:], vertex_count),
        "corners": _add_indices(payload, moved, len(corner_vertices)),
        "corner_vertices": _add_indices(payload, corner_vertices[moved], len(corners.vertex)),
        "face": payload.add(np.rint(face[:, :3].clip(0, 1) * _STEPS).astype("<u2")),
    }
    return payload.message(header)


def picture_message(kind: Literal["texture", "face", "preview"], session: int, jpeg: bytes, **whose: int) -> bytes:
    """The texture or the live face of a `person`, or a picture of what the sender sees."""
    return binary_message({"type": kind, "session": session, **whose, "mime": "image/jpeg"}, jpeg)


def _person(payload: Payload, identity: int, mesh: QuantisedMesh, with_colours: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": identity,
        "topology": mesh.topology,
        "origin": [round(float(value), 6) for value in mesh.origin],
        "scale": [float(value) for value in mesh.scale],
        "vertices": payload.add(mesh.vertices),
    }
    if with_colours and mesh.colours is not None:
        entry["colours"] = payload.add(mesh.colours)
    return entry


def _add_indices(payload: Payload, indices: Int32Array | IntArray, count: int) -> dict[str, Any]:
    """Appends indices below `count` in the smallest type that a graphics card takes."""
    kind = "u2" if count <= _STEPS else "u4"
    return {**payload.add(indices.astype(f"<{kind}")), "type": "u16" if kind == "u2" else "u32"}


MeshKind = Literal["surface", "body"]

_RATE_WINDOW_S = 2.0
_REMEMBERED_ENDED = 64
# After a frame people are shown as they are predicted within this time, if they ever were.
_POSED_S = 0.5
# In the newest frames of all sessions, for whoever begins to watch; each has a mesh, and perhaps a texture.
_REMEMBERED_PEOPLE = 128


@dataclass(frozen=True)
class LiveMesh:
    """A mesh ready to be sent; the checksums of its colours and texture are 0 without any."""

    identity: int
    mesh: QuantisedMesh
    faces: Int32Array
    colours_checksum: int
    texture: MeshTexture | None
    texture_checksum: int
    laying: FaceLaying | None = None


# By topology, of which there are two, and its numbers of vertices without and with copies.
_LAYINGS: dict[tuple[str, int, int], FaceLaying] = {}


@dataclass(slots=True, eq=False)
class ShownFace:
    """A live picture of somebody's face, when it came, and by what it is off the meshes of each topology."""

    face: LiveFace
    came_s: float
    residuals: dict[str, FloatArray | None] = field(default_factory=dict)

    def moved(self, mesh: SurfaceMesh, topology: str, laying: FaceLaying) -> SurfaceMesh:
        """A mesh with the face where the picture had it."""
        if topology not in self.residuals:
            self.residuals[topology] = laying.residual(mesh.vertices, self.face.landmarks)
        residual = self.residuals[topology]
        return mesh if residual is None else replace(mesh, vertices=laying.moved(mesh.vertices, residual))


@dataclass(eq=False)
class LiveFrame:
    """One published frame; its meshes are quantised when a watcher first asks for their kind.

    Args:
        session: number of the session in the output directory.
        fps: published frames of the session per second.
        preview: a small JPEG of what the sender sees.
        blend_ms: how long people take to get there from where they were; 0 in an instant.
        faces: live pictures, by identity.
    """

    session: int
    record: FrameRecord
    people: Sequence[ReconstructedPerson]
    fps: float
    preview: bytes | None = None
    blend_ms: float = 0.0
    faces: Mapping[int, ShownFace] = field(default_factory=dict)
    _meshes: dict[MeshKind, tuple[LiveMesh, ...]] = field(default_factory=dict, init=False)

    @functools.cached_property
    def record_fields(self) -> Mapping[str, Any]:
        """The record as a JSON object."""
        return self.record.as_dict(self.session)

    def meshes(self, kind: MeshKind) -> tuple[LiveMesh, ...]:
        """The people's meshes, most prominent person first."""
        if kind not in self._meshes:
            self._meshes[kind] = tuple(
                _live_mesh(person, kind, self.faces.get(person.labels.identity)) for person in self.people
            )
        return self._meshes[kind]


def _live_mesh(person: ReconstructedPerson, kind: MeshKind, face: ShownFace | None) -> LiveMesh:
    mesh = person.surface if kind == "surface" else person.body.mesh
    # Surfaces have one topology too, but it follows from the options and the arithmetic of who makes them.
    topology = BODY_TOPOLOGY if kind == "body" else f"surface-{zlib.crc32(mesh.faces.tobytes()):08x}"
    texture = person.body.texture if kind == "body" else person.surface_texture
    laying = _laying(topology, texture, person.body.texture)
    if face is not None and laying is not None:
        mesh = face.moved(mesh, topology, laying)
    quantised = QuantisedMesh.from_mesh(mesh, topology)
    checksum = 0 if mesh.colours is None else zlib.crc32(mesh.colours.tobytes(), zlib.crc32(topology.encode())) or 1
    texture_checksum = 0 if texture is None else zlib.crc32(texture.jpeg)
    return LiveMesh(person.labels.identity, quantised, mesh.faces, checksum, texture, texture_checksum, laying)


def _laying(topology: str, texture: MeshTexture | None, template: MeshTexture | None) -> FaceLaying | None:
    if texture is None or template is None:
        return None
    if (key := (topology, int(texture.corners.vertex.max()), len(texture.corners.vertex))) not in _LAYINGS:
        _LAYINGS[key] = FaceLaying(texture.corners, template.corners)
    return _LAYINGS[key]


@dataclass(slots=True)
class LiveSession:
    """A session of this receiver process.

    Args:
        link: the session at the link: sender, clock and its last report.
        source: of the newest frame.
        connected: whether it has not ended.
        preview: the newest small JPEG of what its sender sees.
        faces: live pictures, by identity.
        unposed_s: when the first frame was published after people were last shown as they are predicted; infinite
            before that frame, minus infinity if they never were.
    """

    number: int
    link: Session
    source: str = ""
    connected: bool = True
    newest: LiveFrame | None = None
    preview: bytes | None = None
    faces: dict[int, ShownFace] = field(default_factory=dict)
    unposed_s: float = -math.inf
    published: deque[float] = field(default_factory=deque)

    def description(self) -> dict[str, object]:
        """What browsers get about it."""
        return {
            "number": self.number,
            "sender": self.link.sender,
            "source": self.source,
            "live": self.link.live,
            "connected": self.connected,
        }

    def rate(self, now_s: float) -> float:
        """Counts a frame published now; returns frames per second over the last two seconds."""
        self.published.append(now_s)
        while now_s - self.published[0] > _RATE_WINDOW_S:
            self.published.popleft()
        elapsed_s = now_s - self.published[0]
        return (len(self.published) - 1) / elapsed_s if elapsed_s > 0 else 0.0


class Watcher:
    """What one browser has not been sent yet: the newest frame of each session that it has chosen."""

    def __init__(self, hub: "LiveHub") -> None:
        self._hub = hub
        self._session: int | None = None
        self._watches = False
        self._frames: dict[int, LiveFrame] = {}
        # Sessions whose frame that was taken last had people: the one that shows that they have left comes first, too.
        self._populated: set[int] = set()
        self._sessions_changed = True
        self._wake = asyncio.Event()
        self._wake.set()  # the sessions are waiting already
        self._skipped = 0

    def watch(self, session: int | None) -> None:
        """Chooses a session, or all that are live with None, and begins with its newest frame."""
        self._session, self._watches = session, True
        chosen = {number: state for number, state in self._hub.sessions.items() if self.chooses(number)}
        self._frames = {number: state.newest for number, state in chosen.items() if state.newest is not None}
        self._wake.set()

    def offer(self, frame: LiveFrame) -> None:
        """A frame was published; it takes the place of an older one that was not taken."""
        if self.chooses(frame.session):
            self._skipped += frame.session in self._frames
            self._frames[frame.session] = frame
            self._wake.set()

    def forget(self, session: int) -> None:
        """What waits of a session is not sent any more."""
        self._frames.pop(session, None)
        self._populated.discard(session)

    def sessions_changed(self) -> None:
        """The list of sessions has changed."""
        self._sessions_changed = True
        self._wake.set()

    async def wait(self) -> None:
        """Waits until there may be something to take."""
        await self._wake.wait()
        self._wake.clear()

    def wake(self) -> None:
        """Ends the wait: the browser has room again."""
        self._wake.set()

    def take_sessions(self) -> str | None:
        """The message with all sessions, if they have changed since it was last taken."""
        changed, self._sessions_changed = self._sessions_changed, False
        return self._hub.sessions_message() if changed else None

    def take_frame(self) -> LiveFrame | None:
        """The newest frame of the session whose frame has waited longest, of those with people before others.

        Many sessions in which nobody is must not take the place of a few in which people move.
        """
        if not self._frames:
            return None
        people = (number for number, frame in self._frames.items() if frame.people or number in self._populated)
        frame = self._frames.pop(next(people, next(iter(self._frames))))
        if frame.people:
            self._populated.add(frame.session)
        else:
            self._populated.discard(frame.session)
        return frame

    def take_skipped(self) -> int:
        """How many frames were replaced by newer ones since this was last asked."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def chooses(self, session: int) -> bool:
        """Whether it watches a session."""
        if self._session is not None or not self._watches:
            return self._watches and self._session == session
        state = self._hub.sessions.get(session)
        return state is not None and state.connected


class LiveHub(SessionObserver):
    """The sessions of this process, and who watches them.

    Args:
        clock: times frames and paces what is beside them.
        limbs: of the vertices of bodies (`receiver.mesh.limbs`), if they are known.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, limbs: ByteArray | None = None) -> None:
        self.clock, self.limbs = clock, limbs
        self.sessions: dict[int, LiveSession] = {}
        """Those of this process that are remembered, by number; the newest last."""
        self._watchers: list[Watcher] = []
        self._sessions_message: str | None = None

    @property
    def watchers(self) -> int:
        """How many browsers watch."""
        return len(self._watchers)

    @contextmanager
    def watcher(self) -> Iterator[Watcher]:
        """A watcher, until the block ends."""
        watcher = Watcher(self)
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(watcher)

    def session_began(self, number: int, session: Session) -> None:
        """A session begins, or continues after it had ended."""
        earlier = self.sessions.pop(number, None)
        self.sessions[number] = LiveSession(number, session, source=earlier.source if earlier else "")
        self._forget_old()
        self._tell_sessions()

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        """A frame was written."""
        state = self.sessions.get(number)
        if state is None:
            return
        fps = state.rate(self.clock.monotonic())
        frame = LiveFrame(number, record, people, fps, state.preview, faces=dict(state.faces))
        remembered = 0 if state.newest is None else len(state.newest.record.people)
        state.newest = frame
        if len(record.people) > remembered:
            self._forget_people()
        if state.source != record.source:
            state.source = record.source
            self._tell_sessions()
        # People of the past are not shown between those that are predicted to now; an empty frame needs no prediction.
        state.unposed_s = min(state.unposed_s, self.clock.monotonic())
        if not people or self.clock.monotonic() - state.unposed_s > _POSED_S:
            self._offer(frame)

    def is_watched(self, number: int) -> bool:
        """Whether a browser watches a session."""
        return any(watcher.chooses(number) for watcher in self._watchers)

    def people_posed(self, number: int, people: Sequence[ReconstructedPerson], blend_s: float) -> None:
        """The people of a session are shown as they are predicted, with the record of the newest frame."""
        state = self.sessions.get(number)
        if state is not None and (newest := state.newest) is not None:
            state.unposed_s = math.inf
            self._offer(
                LiveFrame(number, newest.record, people, newest.fps, state.preview, 1e3 * blend_s, dict(state.faces))
            )

    def _offer(self, frame: LiveFrame) -> None:
        for watcher in self._watchers:
            watcher.offer(frame)

    def blob_taken(self, number: int, blob: Blob) -> None:
        """Keeps a picture with which a sender shares what it sees; it goes with the next frame."""
        if blob.kind == PREVIEW and number in self.sessions:
            self.sessions[number].preview = blob.data

    def face_shown(self, number: int, identity: int, face: LiveFace) -> None:
        """Keeps a live picture of somebody's face; it goes with the next frame."""
        if (state := self.sessions.get(number)) is not None:
            now_s = self.clock.monotonic()
            state.faces = {each: shown for each, shown in state.faces.items() if now_s - shown.came_s < SHOWN_S}
            state.faces[identity] = ShownFace(face, now_s)

    def session_ended(self, number: int) -> None:
        """A session has ended; its newest frame stays visible."""
        if number in self.sessions:
            self.sessions[number].connected = False
            self._tell_sessions()

    def session_deleted(self, number: int) -> None:
        """A session was deleted: nothing of it stays visible."""
        self._forget(number)
        self._tell_sessions()

    def sessions_message(self) -> str:
        """What browsers get about the sessions: made once for all of them."""
        if self._sessions_message is None:
            self._sessions_message = sessions_message([state.description() for state in self.sessions.values()])
        return self._sessions_message

    def _tell_sessions(self) -> None:
        self._sessions_message = None
        for watcher in self._watchers:
            watcher.sessions_changed()

    def _forget_people(self) -> None:
        """Forgets the frames of the most people, the oldest first, beyond a number of people that bounds the memory."""
        kept = [
            (len(state.newest.record.people), state) for state in self.sessions.values() if state.newest is not None
        ]
        excess = sum(people for people, _ in kept) - _REMEMBERED_PEOPLE
        while excess > 0:
            people, state = max(kept, key=lambda each: each[0])
            kept.remove((people, state))
            state.newest = None
            excess -= people

    def _forget_old(self) -> None:
        """Forgets the sessions that ended first, beyond a number that bounds the memory."""
        ended = [number for number, state in self.sessions.items() if not state.connected]
        for number in ended[: max(0, len(ended) - _REMEMBERED_ENDED)]:
            self._forget(number)

    def _forget(self, number: int) -> None:
        self.sessions.pop(number, None)
        for watcher in self._watchers:
            watcher.forget(number)


logger = logging.getLogger(__name__)

MOST_HZ: Final = 30.0
# Of the time of the networks that others do not need, and of what they take, the smoothed mean.
_SHARE, _SMOOTHING = 1 / 3, 0.9
_UNWATCHED_S = 0.1
# Meshes take longer on their way by this than until the next one is due: one that is late stops nobody.
_LATE: Final = 1.25

Pose = Callable[[int, LabelFrame], Awaitable[tuple[ReconstructedPerson, ...] | None]]
"""Reconstructs people of a session by its number; None if nothing is known of it yet."""


class LivePoses:
    """Poses the people of watched sessions up to `MOST_HZ` times a second, less often where that takes long."""

    def __init__(self, hub: LiveHub, playout: PlayoutBuffer, pose: Pose, clock: Clock = SYSTEM_CLOCK) -> None:
        self._hub, self._pose, self._clock = hub, pose, clock
        self._playout, self._view = playout, playout.view()
        self._shown: dict[int, LabelFrame | None] = {}
        self._spent_s = 0.0

    async def run(self) -> None:
        """Poses until cancelled."""
        while True:
            began_s = self._clock.monotonic()
            due_s = began_s + await self.show()
            await asyncio.sleep(max(due_s - self._clock.monotonic(), 0.0))

    async def show(self) -> float:
        """Shows everybody who is watched as they are now; returns after how long to do so again, in seconds."""
        began_s = self._clock.monotonic()
        watched = [number for number in self._hub.sessions if self._hub.is_watched(number)]
        self._shown = {number: self._shown.get(number) for number in watched}
        period_s = max(1 / MOST_HZ, self._spent_s / _SHARE)
        blend_s = _LATE * period_s
        self._view.ahead_s = self._spent_s + blend_s
        populated = [number for number in watched if self._has_people(number)]
        if any(await asyncio.gather(*(self._show(number, blend_s) for number in populated))):
            spent_s = self._clock.monotonic() - began_s
            self._spent_s += (1 - _SMOOTHING) * (spent_s - self._spent_s)
        return period_s if watched else _UNWATCHED_S

    def _has_people(self, number: int) -> bool:
        """Whether somebody is in the newest frame of a session, or is still shown though everybody has left."""
        frames = (self._playout.newest(number), self._shown[number])
        return any(frame is not None and frame.people for frame in frames)

    async def _show(self, number: int, blend_s: float) -> bool:
        """Returns whether anything has changed."""
        try:
            frame = self._view.frame(number)
            if frame is None or frame is self._shown[number]:
                return False
            self._shown[number] = frame
            people = await self._pose(number, frame)
        except Exception:
            # As for the frames that are published, which tell their senders; the next one may do.
            logger.debug("people of session %d were not posed", number, exc_info=True)
            return False
        if people is not None:
            self._hub.people_posed(number, people, blend_s)
        return people is not None
