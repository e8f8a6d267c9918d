"""The route that takes cameras of browsers: JPEGs in, an acknowledgement for each out, latest wins."""

import asyncio
from contextlib import suppress

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from receiver.web.access import Access
from receiver.web.children.cameras import ChildCamera, ChildCameras
from receiver.web.live.socket import POLICY_VIOLATION, TRY_AGAIN_LATER, close
from receiver.web.pictures import PicturesUnavailable

# A browser that sends nothing for so long has gone or sleeps; its sender process is wanted by others.
_IDLE_S = 30.0
_JPEG = b"\xff\xd8\xff"
_GOING_AWAY = 1001


def camera_routes(cameras: ChildCameras | None, access: Access) -> APIRouter:
    """The WebSocket `/camera`; without `cameras` it refuses everybody."""
    router = APIRouter()

    @router.websocket("/camera")
    async def camera(websocket: WebSocket) -> None:
        if await access.watcher(websocket) is None:
            await websocket.close(POLICY_VIOLATION, "sign in to send your camera")
            return
        if cameras is None:
            await websocket.close(POLICY_VIOLATION, "the receiver runs without --browser-camera")
            return
        await websocket.accept()
        try:
            async with cameras.open() as opened:
                await websocket.send_json({"type": "ready"})
                await CameraSocket(websocket, opened).serve()
        except PicturesUnavailable as error:
            with suppress(RuntimeError, WebSocketDisconnect):
                await websocket.send_json({"type": "refused", "detail": str(error)})
            await close(websocket, TRY_AGAIN_LATER, str(error))

    return router


class CameraSocket:
    """Serves one WebSocket that was admitted.

    A frame is acknowledged, `{"type": "ack", "frame": n, "taken": …}` with n counted from 1, when the sender process
    has taken it or when a newer one has replaced it; a browser that waits for that sends as fast as the process takes.
    """

    def __init__(self, websocket: WebSocket, camera: ChildCamera) -> None:
        self._websocket = websocket
        self._camera = camera
        self._pushing: set[asyncio.Task[None]] = set()
        self._failure: PicturesUnavailable | None = None

    async def serve(self) -> None:
        """Takes frames until the browser leaves, sends something else, or falls silent. Raises PicturesUnavailable."""
        number = 0
        try:
            while self._failure is None:
                jpeg = await self._next_picture()
                if jpeg is None:
                    return
                number += 1
                task = asyncio.create_task(self._push(number, jpeg), name="browser camera frame")
                self._pushing.add(task)
                task.add_done_callback(self._pushing.discard)
                # Lets the frame take the place of one that waits before the next message is read.
                await asyncio.sleep(0)
            raise self._failure
        finally:
            for task in self._pushing:
                task.cancel()

    async def _next_picture(self) -> bytes | None:
        """The next message; None when the camera ends."""
        try:
            async with asyncio.timeout(_IDLE_S):
                message = await self._websocket.receive()
        except TimeoutError:
            await close(self._websocket, _GOING_AWAY, "no picture has arrived for half a minute")
            return None
        if message["type"] == "websocket.disconnect":
            return None
        jpeg = message.get("bytes")
        if not isinstance(jpeg, bytes) or not jpeg.startswith(_JPEG):
            await close(self._websocket, POLICY_VIOLATION, "messages are JPEG pictures")
            return None
        return jpeg

    async def _push(self, number: int, jpeg: bytes) -> None:
        try:
            taken = await self._camera.push(jpeg)
        except PicturesUnavailable as error:
            self._failure = error
            await close(self._websocket, _GOING_AWAY, str(error))
            return
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._websocket.send_json({"type": "ack", "frame": number, "taken": taken})
