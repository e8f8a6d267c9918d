"""The live WebSocket: what a browser chooses to see, and frames as fast as it shows them.

A browser acknowledges each frame that it has drawn. At most `_FRAMES_IN_FLIGHT` are unacknowledged, so what waits in
the kernel's and the network's buffers is never older than a frame or two, however slow the browser is. Between frames
travel parts of textures, one at a time.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from common.text import printable
from common.version import package_version
from common.wire.traffic import Traffic
from receiver.web.live.hub import LiveFrame, LiveHub, MeshKind, Watcher
from receiver.web.live.messages import QuantisedMesh, frame_message, part_message, preview_message
from receiver.web.live.texture_queue import TextureQueue
from receiver.web.metrics import WebMetrics
from receiver.web.site import Site

_FRAMES_IN_FLIGHT = 2
# Until the first message: a silent browser takes the place of another.
_CHOICE_S = 10.0
_MAX_MESSAGE_CHARACTERS = 1000
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
"""Codes with which a WebSocket is closed (RFC 6455 and IANA's registry)."""


def live_routes(site: Site, most_watchers: int) -> APIRouter:
    """The WebSocket `/live`."""
    router, hub, access = APIRouter(), site.hub, site.access

    @router.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        visitor = await access.visitor(websocket)
        if visitor is None:
            await websocket.close(POLICY_VIOLATION, "sign in to watch")
            return
        await websocket.accept()
        if not hub.make_room(visitor, most_watchers):
            await close(websocket, TRY_AGAIN_LATER, "too many browsers watch; see --watchers")
            return
        with hub.watcher(visitor) as watcher, site.metrics.watching():
            signed_out = partial(access.until_signed_out, websocket)
            await LiveSocket(websocket, hub, watcher, site.metrics, signed_out).serve()

    return router


class LiveSocket:
    """Serves one WebSocket that was admitted (`signed_out`: ends when its browser may no longer watch)."""

    def __init__(
        self,
        websocket: WebSocket,
        hub: LiveHub,
        watcher: Watcher,
        metrics: WebMetrics,
        signed_out: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._websocket = websocket
        self._hub = hub
        self._watcher = watcher
        self._metrics = metrics
        self._signed_out = signed_out
        self._kind: MeshKind = "surface"
        self._wants_textures = False
        self._topologies: set[str] = set()
        self._colours: dict[int, dict[int, int]] = {}
        self._next_id = 1
        self._unacknowledged: set[int] = set()
        self._textures = TextureQueue()
        self._unacknowledged_part: int | None = None

    async def serve(self) -> None:
        """Sends until the browser leaves, loses its place, says nothing that is understood, or has signed out."""
        await self._websocket.send_json({"type": "hello", "version": package_version()})
        work = (self._read(), self._send())
        with suppress(WebSocketDisconnect):
            try:
                await run_while_wanted(self._websocket, work, self._signed_out, self._watcher.displaced, "--watchers")
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
            if message.id == self._unacknowledged_part:
                self._unacknowledged_part = None
            self._watcher.wake()
        else:
            # A browser keeps nothing of the people whom it does not show.
            self._colours.clear()
            self._textures.forget()
            self._kind, self._wants_textures = message.mesh, message.textures
            self._watcher.watch(message.session, previews=message.preview, surfaces=message.mesh == "surface")

    async def _send(self) -> None:
        while True:
            await self._wait()
            if (sessions := self._watcher.take_sessions()) is not None:
                await self._websocket.send_json({"type": "sessions", "sessions": sessions})
            while len(self._unacknowledged) < _FRAMES_IN_FLIGHT:
                if (preview := self._watcher.take_preview()) is not None:
                    await self._websocket.send_bytes(
                        preview_message(preview.session, preview.width, preview.height, preview.jpeg)
                    )
                if (frame := self._watcher.take_frame()) is None:
                    break
                await self._send_frame(frame)
                await self._send_part()
            await self._send_part()

    async def _wait(self) -> None:
        """Until there may be something to send: a frame, room for a frame or a part, or the time for a texture."""
        now_s = self._hub.clock.monotonic()
        start_s = self._textures.next_start_s(now_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if start_s is None else start_s - now_s):
                await self._watcher.wait()

    async def _send_part(self) -> None:
        if self._unacknowledged_part is not None:
            return
        part = self._textures.next_part(self._hub.clock.monotonic(), idle=not self._unacknowledged)
        if part is None:
            return
        self._unacknowledged_part = number = self._number()
        message = part_message(number, part.offset, part.size, part.content)
        await self._websocket.send_bytes(message)
        self._metrics.texture_part_sent(len(message))

    async def _send_frame(self, frame: LiveFrame) -> None:
        kind = self._kind
        for name, message_of in frame.topologies(kind).items():
            if name not in self._topologies:
                self._topologies.add(name)
                await self._websocket.send_bytes(message_of())
        number = self._number()
        self._unacknowledged.add(number)
        message = frame_message({"id": number, **self._header(frame)}, self._people(frame, kind))
        await self._websocket.send_bytes(message)
        self._textures.frame_sent(len(message))
        self._metrics.frame_shown(len(message))
        for _ in range(self._watcher.take_skipped()):
            self._metrics.frame_skipped()

    def _people(self, frame: LiveFrame, kind: MeshKind) -> list[tuple[int, QuantisedMesh, bool]]:
        """Identity and mesh of the people in a frame, and whether their colours are sent.

        Colours are to be seen until the texture has come: while it is on its way they need not be the newest.
        """
        session, meshes = frame.session, frame.meshes(kind)
        if self._wants_textures:
            placed = {mesh.identity: (mesh.mesh.topology, mesh.texture) for mesh in meshes if mesh.texture is not None}
            self._textures.offer(session, placed)
        # A browser forgets people who are not in a frame.
        had = self._colours.get(session, {})
        self._colours[session] = has = {
            mesh.identity: had[mesh.identity]
            if self._wants_textures and mesh.texture and mesh.identity in had
            else mesh.colours_checksum
            for mesh in meshes
            if not self._textures.has(session, mesh.identity)
        }
        return [
            (mesh.identity, mesh.mesh, mesh.identity in has and had.get(mesh.identity) != has[mesh.identity])
            for mesh in meshes
        ]

    def _number(self) -> int:
        number, self._next_id = self._next_id, self._next_id + 1
        return number

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
            }
        )
        return {
            "type": "frame",
            "session": frame.session,
            "record": frame.record_fields,
            "fps": round(frame.fps, 2),
            "link": link,
            "traffic": {} if session is None else _traffic(session.link.traffic),
        }


def _traffic(traffic: Traffic) -> dict[str, int]:
    """Everything on the link of a session, in both directions."""
    return {
        "bits_per_second": round(traffic.recent_bps),
        "mean_bits_per_second": round(traffic.mean_bps),
        "bytes": traffic.total_bytes,
    }


_Number = Annotated[int, Field(strict=True, ge=0, lt=2**53)]


class _Shown(BaseModel):
    """A frame or part was drawn."""

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
    displaced: asyncio.Event,
    option: str,
) -> None:
    """Runs all of `work` until one of it ends; its error is raised.

    The WebSocket is closed when its browser may no longer stay (`signed_out` ends), or has to leave its place to others
    (`displaced`), of which there are as many as `option` says.
    """
    leaving, losing = asyncio.create_task(signed_out()), asyncio.create_task(displaced.wait())
    tasks: list[asyncio.Task[Any]] = [leaving, losing, *map(asyncio.create_task, work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if leaving in done:
        await close(websocket, POLICY_VIOLATION, "signed out")
    elif losing in done:
        await close(websocket, TRY_AGAIN_LATER, f"others need the place; see {option}")
    for task in done:
        task.result()
