"""A receiver for the page alone: the built page, the stream of an output directory, accounts and models in memory."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from receiver.mesh.mesh_texture import MeshTexture
from tests.support.live_messages import (
    BODY,
    StoredFrame,
    frame_message,
    part_messages,
    preview_message,
    read_frames,
    texture_coordinates_message,
    texture_message,
    topology_message,
)
from tests.support.page_accounts import PageAccounts

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SENDERS = ("hall", "studio")
UNACKNOWLEDGED = 2


class PageServer:
    """Serves on a free port of the loopback, in a thread of its own.

    Bodies have the colours of their files, or `texture`, if it is set before a browser comes, which gets `most_frames`.

    Args:
        output: of a receiver; its frames are sent again and again, one session for each of `sessions`.
        static: the built page.
        preview: a JPEG picture that the senders share.
        frames_per_second: of each session.
    """

    def __init__(
        self, output: Path, static: Path, preview: bytes, *, sessions: int = 1, frames_per_second: float = 20.0
    ) -> None:
        self.frames: list[StoredFrame] = read_frames(output)
        self.accounts = PageAccounts(output, self.frames)
        self.sessions = sessions
        self.live = True
        self.texture: MeshTexture | None = None
        self.most_frames = sys.maxsize
        self.viewers = 0
        self.acknowledged: list[int] = []
        self.camera_pictures: list[bytes] = []
        self.camera_refusal = ""
        self._output, self._static, self._preview = output, static, preview
        self._interval_s = 1.0 / frames_per_second
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Serves on the port of the previous start, if there was one.

        Raises:
            RuntimeError: it does not start.
        """
        config = uvicorn.Config(
            self._app(), port=self._port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = server = uvicorn.Server(config)
        socket = config.bind_socket()
        # Browsers that come before the thread runs wait instead of being refused.
        socket.listen()
        self._port = socket.getsockname()[1]
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Drops all connections."""
        if self._server and self._thread:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(10)
        self._server = None

    def _app(self) -> ASGIApp:
        routes: list[BaseRoute] = [
            Route("/", lambda request: FileResponse(self._static / "index.html")),
            Route("/docs", lambda request: FileResponse(self._static / "docs" / "index.html")),
            Route("/openapi.json", lambda request: JSONResponse(DESCRIPTION)),
            Mount("/static", StaticFiles(directory=self._static)),
            Mount("/meshes", StaticFiles(directory=self._output / "meshes")),
            Route("/api/status", self._status),
            Route("/api/sessions", self._stored_sessions),
            Route("/api/sessions/{number:int}/frames", self._stored_frames),
            WebSocketRoute("/live", self._live),
            WebSocketRoute("/camera", self._camera),
            *self.accounts.routes(),
        ]
        return _secured(Starlette(routes=routes))

    async def _status(self, request: Request) -> Response:
        offers = {"version": "0.1.0", "live": self.live, "browser_camera": True, "pictures": True}
        return JSONResponse({**offers, **self.accounts.status(request)})

    async def _stored_sessions(self, request: Request) -> Response:
        last = self.frames[-1].record["seq"]
        return JSONResponse({"sessions": [{"number": n + 1, "last_seq": last} for n in range(self.sessions)]})

    async def _stored_frames(self, request: Request) -> Response:
        after, limit = int(request.query_params["after"]), int(request.query_params["limit"])
        records = [frame.record for frame in self.frames if frame.record["seq"] > after]
        return JSONResponse({"frames": records[:limit]})

    async def _camera(self, socket: WebSocket) -> None:
        await socket.accept()
        if self.camera_refusal:
            await socket.send_json({"type": "refused", "detail": self.camera_refusal})
            await socket.close()
            return
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                self.camera_pictures.append(await socket.receive_bytes())
                await socket.send_json({"type": "ack", "frame": len(self.camera_pictures)})

    async def _live(self, socket: WebSocket) -> None:
        if not self.live:
            await socket.close()
            return
        await socket.accept()
        viewer = _Viewer(self, socket, self._interval_s, self._preview)
        self.viewers += 1
        with contextlib.suppress(WebSocketDisconnect, asyncio.CancelledError):
            await viewer.run()
        self.viewers -= 1


class _Viewer:
    """One connection of the live stream."""

    def __init__(self, server: PageServer, socket: WebSocket, interval_s: float, preview: bytes) -> None:
        self._server, self._socket, self._interval_s, self._preview = server, socket, interval_s, preview
        self._watch: dict[str, Any] | None = None
        self._waiting: set[int] = set()
        self._sent = self._frames_sent = 0
        self._coordinates_sent = False
        self._dressed: set[int] = set()

    async def run(self) -> None:
        await self._socket.send_json({"type": "hello", "version": "0.1.0"})
        sessions = [
            {"number": n + 1, "sender": SENDERS[n], "source": "demo.mp4", "live": True, "connected": True}
            for n in range(self._server.sessions)
        ]
        await self._socket.send_json({"type": "sessions", "sessions": sessions})
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen())
            sending = tasks.create_task(self._send())
            listening.add_done_callback(lambda _: sending.cancel())

    async def _listen(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                text = await self._socket.receive_json()
                if text["type"] == "watch":
                    self._watch = text
                    self._dressed.clear()
                else:
                    self._waiting.discard(text["id"])
                    self._server.acknowledged.append(text["id"])

    async def _send(self) -> None:
        frames, topology_sent = self._server.frames, False
        async for tick in _ticks(self._interval_s):
            if (watch := self._watch) is None:
                continue
            kind = watch["mesh"]
            if kind == BODY and not topology_sent:
                await self._socket.send_bytes(topology_message(frames[0].meshes[BODY][0]))
                topology_sent = True
            if watch["preview"] and tick % 20 == 0:
                await self._socket.send_bytes(preview_message(self._preview, 640, 480, 1))
            for session in range(1, self._server.sessions + 1):
                if watch["session"] in (None, session) and len(self._waiting) < UNACKNOWLEDGED:
                    await self._send_frame(frames[(tick + 7 * session) % len(frames)], kind, session)

    async def _send_frame(self, frame: StoredFrame, kind: str, session: int) -> None:
        if self._frames_sent >= self._server.most_frames:
            return
        self._sent += 1
        self._frames_sent += 1
        self._waiting.add(self._sent)
        coloured = kind != BODY or session not in self._dressed
        await self._socket.send_bytes(frame_message(frame, kind, self._sent, session, colours=coloured))
        if kind == BODY and session not in self._dressed and (texture := self._server.texture) is not None:
            await self._dress(frame, session, texture)

    async def _dress(self, frame: StoredFrame, session: int, texture: MeshTexture) -> None:
        """Sends the texture of everybody in a frame, in parts."""
        messages = [texture_message(session, person["id"], texture.jpeg) for person in frame.record["people"]]
        if not self._coordinates_sent:
            messages.insert(0, texture_coordinates_message(texture.corners))
        for whole in messages:
            for part in part_messages(whole, self._sent + 1):
                self._sent += 1
                await self._socket.send_bytes(part)
        self._coordinates_sent = True
        self._dressed.add(session)


async def _ticks(interval_s: float) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    start, tick = loop.time(), 0
    while True:
        yield tick
        tick = max(tick + 1, int((loop.time() - start) / interval_s))
        await asyncio.sleep(max(0.0, start + tick * interval_s - loop.time()))


def _secured(app: ASGIApp) -> ASGIApp:
    """Adds the headers that the receiver sends with every answer."""

    async def secured(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {b"content-security-policy": POLICY.encode(), b"x-content-type-options": b"nosniff"}
                message["headers"] = [*message["headers"], *headers.items()]
            await send(message)

        await app(scope, receive, send_with_headers)

    return secured


DESCRIPTION = {
    "openapi": "3.1.0",
    "info": {"title": "Bodywire", "version": "0.1.0"},
    "paths": {
        "/upload": {"post": {"summary": "Make a model of a picture", "responses": {"201": {"description": "Made"}}}}
    },
}
