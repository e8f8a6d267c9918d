"""The live WebSockets: what a browser chooses to see, as fast as it shows it, and pictures of its camera.

A browser acknowledges each frame that it has drawn. At most `_FRAMES_IN_FLIGHT` are unacknowledged, so what waits in
the kernel's and the network's buffers is never older than a frame or two, however slow the browser is. A texture, which
is as large as half a mesh, goes before the first frame that shows it.
"""

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket
from PIL import Image as PillowImage
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from common.io.tasks import cancel
from common.text import printable
from common.version import package_version
from receiver.mesh.mesh_texture import encode_jpeg
from receiver.texture.live_face import in_light_of
from receiver.web.access import Access
from receiver.web.children.sender_child import ChildCamera, ChildCameras
from receiver.web.live.hub import (
    BODY_TOPOLOGY,
    LiveFrame,
    LiveHub,
    LiveMesh,
    MeshKind,
    ShownFace,
    Watcher,
    frame_message,
    picture_message,
    texture_coordinates_message,
    topology_message,
)
from receiver.web.metrics import WebMetrics
from receiver.web.places import Places, Refused
from receiver.web.site import Site

_FRAMES_IN_FLIGHT = 2
# Between two textures of one person: that of a new person changes several times a second.
_TEXTURE_INTERVAL_S = 2.0
# Until the first message: a silent browser takes the place of another.
_CHOICE_S = 10.0
_MAX_MESSAGE_CHARACTERS = 1000
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
"""Codes with which a WebSocket is closed (RFC 6455 and IANA's registry)."""


def live_routes(site: Site, most_watchers: int) -> APIRouter:
    """The WebSocket `/live`."""
    router, hub, access = APIRouter(), site.hub, site.access
    places = Places(most_watchers, most_watchers)

    @router.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        visitor = await access.visitor(websocket)
        if visitor is None:
            await websocket.close(POLICY_VIOLATION, "sign in to watch")
            return
        await websocket.accept()
        try:
            with places.take(visitor), hub.watcher() as watcher, site.metrics.watching():
                signed_out = partial(access.until_signed_out, websocket)
                await LiveSocket(websocket, hub, watcher, site.metrics, signed_out).serve()
        except Refused:
            await close(websocket, TRY_AGAIN_LATER, "too many browsers watch; see --watchers")

    return router


@dataclass(frozen=True, slots=True)
class _SentTexture:
    """The texture that a browser has of a person."""

    topology: str
    checksum: int
    sent_s: float


@dataclass(eq=False)
class LiveSocket:
    """Serves one WebSocket that was admitted (`signed_out`: ends when its browser may no longer watch)."""

    _websocket: WebSocket
    _hub: LiveHub
    _watcher: Watcher
    _metrics: WebMetrics
    _signed_out: Callable[[], Coroutine[Any, Any, None]]

    def __post_init__(self) -> None:
        self._kind: MeshKind = "surface"
        self._wants_textures = self._wants_previews = False
        # What the browser has: names of topologies, of people by session and identity, and numbers of frames.
        self._topologies: set[str] = set()
        self._unwrapped: set[str] = set()
        self._colours: dict[int, dict[int, int]] = {}
        self._textures: dict[int, dict[int, _SentTexture]] = {}
        self._previews: dict[int, bytes] = {}
        self._faces: dict[tuple[int, int], ShownFace] = {}
        self._frames_sent = 0
        self._unacknowledged: set[int] = set()

    async def serve(self) -> None:
        """Sends until the browser leaves, says nothing that is understood, or has signed out."""
        await self._websocket.send_json({"type": "hello", "version": package_version()})
        work = (self._read(), self._send())
        with suppress(WebSocketDisconnect):
            try:
                await run_while_wanted(self._websocket, work, self._signed_out)
            except _Misunderstood as error:
                await close(self._websocket, POLICY_VIOLATION, str(error))

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_CHOICE_S):
                self._handle(await _received(self._websocket))
        except TimeoutError as error:
            raise _Misunderstood("nothing was chosen to be watched") from error
        while True:
            self._handle(await _received(self._websocket))

    def _handle(self, message: "_Shown | _Watch") -> None:
        if isinstance(message, _Shown):
            self._unacknowledged.discard(message.id)
            self._watcher.wake()
        else:
            # A browser keeps nothing of the people whom it does not show.
            self._colours.clear()
            self._textures.clear()
            self._kind, self._wants_textures = message.mesh, message.textures
            self._previews.clear()
            self._wants_previews = message.preview
            self._watcher.watch(message.session)

    async def _send(self) -> None:
        while True:
            await self._watcher.wait()
            if (sessions := self._watcher.take_sessions()) is not None:
                await self._websocket.send_text(sessions)
            while len(self._unacknowledged) < _FRAMES_IN_FLIGHT:
                if (frame := self._watcher.take_frame()) is None:
                    break
                await self._send_frame(frame)

    async def _send_frame(self, frame: LiveFrame) -> None:
        meshes = frame.meshes(self._kind)
        for mesh in meshes:
            name = mesh.mesh.topology
            if name not in self._topologies:
                self._topologies.add(name)
                limbs = self._hub.limbs if name == BODY_TOPOLOGY else None
                await self._websocket.send_bytes(topology_message(name, mesh.faces, len(mesh.mesh.vertices), limbs))
        if self._wants_previews and frame.preview and frame.preview is not self._previews.get(frame.session):
            self._previews[frame.session] = frame.preview
            await self._websocket.send_bytes(picture_message("preview", frame.session, frame.preview))
        if self._wants_textures:
            await self._send_textures(frame.session, meshes)
            await self._send_faces(frame, meshes)
        coloured = self._coloured(frame.session, meshes)
        self._frames_sent += 1
        self._unacknowledged.add(self._frames_sent)
        message = frame_message(
            {"id": self._frames_sent, **self._header(frame)},
            [(mesh.identity, mesh.mesh, mesh.identity in coloured) for mesh in meshes],
        )
        await self._websocket.send_bytes(message)
        self._metrics.frame_shown(len(message))
        for _ in range(self._watcher.take_skipped()):
            self._metrics.frame_skipped()

    async def _send_textures(self, session: int, meshes: Sequence[LiveMesh]) -> None:
        """Sends the textures that the browser lacks, or has had an older one of for a while."""
        now_s, had = self._hub.clock.monotonic(), self._textures.get(session, {})
        # A browser forgets people who are not in a frame.
        self._textures[session] = has = {}
        for identity, mesh, texture in ((mesh.identity, mesh, mesh.texture) for mesh in meshes):
            if texture is None or mesh.laying is None:
                continue
            known, name = had.get(identity), mesh.mesh.topology
            if known is not None and known.topology == name:
                has[identity] = known
                if known.checksum == mesh.texture_checksum or now_s - known.sent_s < _TEXTURE_INTERVAL_S:
                    continue
            has[identity] = _SentTexture(name, mesh.texture_checksum, now_s)
            if name not in self._unwrapped:
                self._unwrapped.add(name)
                await self._websocket.send_bytes(texture_coordinates_message(name, texture.corners, mesh.laying.places))
            message = picture_message("texture", session, texture.jpeg, person=identity)
            await self._websocket.send_bytes(message)
            self._metrics.texture_sent(len(message))

    async def _send_faces(self, frame: LiveFrame, meshes: Sequence[LiveMesh]) -> None:
        """Sends the live pictures of faces that the browser lacks."""
        for mesh in meshes:
            key, shown = (frame.session, mesh.identity), frame.faces.get(mesh.identity)
            if shown is None or mesh.texture is None or mesh.laying is None or self._faces.get(key) is shown:
                continue
            self._faces[key] = shown
            picture, colours = shown.face.picture, mesh.mesh.colours
            if colours is not None:
                picture = in_light_of(picture, mesh.laying.places, colours[mesh.texture.corners.vertex])
            message = picture_message("face", frame.session, encode_jpeg(picture), person=mesh.identity)
            await self._websocket.send_bytes(message)
            self._metrics.texture_sent(len(message))

    def _coloured(self, session: int, meshes: Sequence[LiveMesh]) -> set[int]:
        """The people whose colours are sent: those without a texture, of other colours than the browser has."""
        had = self._colours.get(session, {})
        self._colours[session] = has = {
            mesh.identity: mesh.colours_checksum for mesh in meshes if not (self._wants_textures and mesh.texture)
        }
        return {identity for identity, checksum in has.items() if had.get(identity) != checksum}

    def _header(self, frame: LiveFrame) -> dict[str, Any]:
        session = self._hub.sessions.get(frame.session)
        report = session.link.report if session is not None else None
        link = (
            {}
            if report is None
            else {
                "capacity_bps": report.capacity_bps,
                "capacity_at_least": report.capacity_at_least,
                "round_trip_ms": report.round_trip_ms,
                "sender_stages_ms": dict(report.stages_ms),
                "people_limit": report.people_limit,
                "camera_fps": report.camera_fps,
            }
        )
        traffic = None
        if session is not None and not session.link.replayed:  # a recording has no link
            sent = session.link.traffic
            traffic = {
                "bits_per_second": round(sent.recent_bps),
                "wrapping_bits_per_second": round(sent.recent_wrapping_bps),
                "mean_bits_per_second": round(sent.mean_bps),
            }
        return {
            "type": "frame",
            "session": frame.session,
            "record": frame.record_fields,
            "fps": round(frame.fps, 2),
            "blend_ms": round(frame.blend_ms),
            "link": link,
            "traffic": traffic,
        }


_Number = Annotated[int, Field(strict=True, ge=0, lt=2**53)]


class _Shown(BaseModel):
    """A frame was drawn."""

    type: Literal["shown"]
    id: _Number


class _Watch(BaseModel):
    """What the browser wants to see."""

    type: Literal["watch"]
    session: _Number | None = None
    mesh: MeshKind
    preview: bool = False
    textures: bool = False


_MESSAGE: TypeAdapter[_Shown | _Watch] = TypeAdapter(_Shown | _Watch)


class _Misunderstood(Exception):
    """A browser sent something that the protocol does not have."""


async def _received(websocket: WebSocket) -> _Shown | _Watch:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if not isinstance(text, str) or len(text) > _MAX_MESSAGE_CHARACTERS:
        raise _Misunderstood(f"messages are JSON text of at most {_MAX_MESSAGE_CHARACTERS} characters")
    try:
        return _MESSAGE.validate_json(text)
    except ValidationError as error:
        raise _Misunderstood("a message is neither shown nor watch, or lacks something") from error


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Closes a WebSocket with a reason; a browser that has gone is no error."""
    if websocket.application_state is not WebSocketState.DISCONNECTED:
        with suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(code, printable(reason, 120))


async def run_while_wanted(
    websocket: WebSocket,
    work: Iterable[Coroutine[Any, Any, None]],
    signed_out: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Runs all of `work` until one of it ends; its error is raised.

    The WebSocket is closed when its browser may no longer stay (`signed_out` ends).
    """
    leaving = asyncio.create_task(signed_out())
    tasks: list[asyncio.Task[Any]] = [leaving, *map(asyncio.create_task, work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(tasks)
    if leaving in done:
        await close(websocket, POLICY_VIOLATION, "signed out")
    for task in done:
        task.result()


# A browser that sends nothing for so long has gone or sleeps; its sender process is wanted by others.
_IDLE_S = 30.0
_GOING_AWAY = 1001
# The page sends 640 × 480.
_MOST_PIXELS = 4_000_000


def camera_routes(cameras: ChildCameras | None, access: Access) -> APIRouter:
    """The WebSocket `/camera`; without `cameras` it refuses everybody."""
    router = APIRouter()

    @router.websocket("/camera")
    async def camera(websocket: WebSocket) -> None:
        visitor = await access.visitor(websocket)
        if visitor is None:
            await websocket.close(POLICY_VIOLATION, "sign in to send your camera")
            return
        if cameras is None:
            await websocket.close(POLICY_VIOLATION, "the receiver runs without --browser-cameras")
            return
        await websocket.accept()
        try:
            async with cameras.open(visitor) as opened:
                await websocket.send_json({"type": "ready"})
                with suppress(WebSocketDisconnect):
                    signed_out = partial(access.until_signed_out, websocket)
                    await run_while_wanted(websocket, [_take_frames(websocket, opened)], signed_out)
        except Refused as error:
            with suppress(RuntimeError, WebSocketDisconnect):
                await websocket.send_json({"type": "refused", "detail": str(error)})
            await close(websocket, TRY_AGAIN_LATER, str(error))

    return router


async def _take_frames(websocket: WebSocket, camera: ChildCamera) -> None:
    """Takes frames until the sender process ends, or the browser leaves, errs, or falls silent.

    A frame is acknowledged, `{"type": "ack", "frame": n, "taken": …}` with n counted from 1, when the sender process
    has it, in which it replaces one that waits. The next one is read then: a browser that does not wait, or does not
    read, is read more slowly than it sends.
    """
    number = 0
    while (jpeg := await _next_picture(websocket)) is not None:
        number += 1
        try:
            taken = await camera.push(jpeg)
        except Refused as error:
            await close(websocket, _GOING_AWAY, str(error))
            return
        await websocket.send_json({"type": "ack", "frame": number, "taken": taken})


async def _next_picture(websocket: WebSocket) -> bytes | None:
    """The next message; None when the camera ends."""
    try:
        async with asyncio.timeout(_IDLE_S):
            message = await websocket.receive()
    except TimeoutError:
        await close(websocket, _GOING_AWAY, "no picture has arrived for half a minute")
        return None
    if message["type"] == "websocket.disconnect":
        return None
    jpeg = message.get("bytes")
    if not isinstance(jpeg, bytes):
        await close(websocket, POLICY_VIOLATION, "messages are JPEG pictures")
        return None
    if not await asyncio.to_thread(_is_of_a_camera, jpeg):
        reason = f"messages are JPEG pictures of at most {_MOST_PIXELS / 1e6:g} million pixels"
        await close(websocket, POLICY_VIOLATION, reason)
        return None
    return jpeg


def _is_of_a_camera(jpeg: bytes) -> bool:
    """Whether a message has the head of a JPEG that takes the sender process little memory to decode."""
    try:
        with PillowImage.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return image.width * image.height <= _MOST_PIXELS
    # Pillow raises almost any exception for damaged files.
    except Exception:
        return False
