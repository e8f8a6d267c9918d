"""The route that takes cameras of browsers: JPEGs in, an acknowledgement for each out."""

import asyncio
import io
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from fastapi import APIRouter, WebSocket
from PIL import Image as PillowImage
from starlette.websockets import WebSocketDisconnect

from receiver.web.access import Access
from receiver.web.children.cameras import ChildCamera, ChildCameras
from receiver.web.live.socket import POLICY_VIOLATION, TRY_AGAIN_LATER, close, run_while_wanted
from receiver.web.refused import Refused

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
                await CameraSocket(websocket, opened, partial(access.until_signed_out, websocket)).serve()
        except Refused as error:
            with suppress(RuntimeError, WebSocketDisconnect):
                await websocket.send_json({"type": "refused", "detail": str(error)})
            await close(websocket, TRY_AGAIN_LATER, str(error))

    return router


class CameraSocket:
    """Serves one WebSocket that was admitted (`signed_out`: ends when its browser may no longer send).

    A frame is acknowledged, `{"type": "ack", "frame": n, "taken": …}` with n counted from 1, when the sender process
    has it, in which it replaces one that waits. The next one is read then: a browser that does not wait, or does not
    read, is read more slowly than it sends.
    """

    def __init__(
        self, websocket: WebSocket, camera: ChildCamera, signed_out: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._websocket = websocket
        self._camera = camera
        self._signed_out = signed_out

    async def serve(self) -> None:
        """Takes frames until the sender process ends, or the browser leaves, errs, or falls silent."""
        with suppress(WebSocketDisconnect):
            await run_while_wanted(self._websocket, [self._take_frames()], self._signed_out)

    async def _take_frames(self) -> None:
        number = 0
        while (jpeg := await self._next_picture()) is not None:
            number += 1
            try:
                taken = await self._camera.push(jpeg)
            except Refused as error:
                await close(self._websocket, _GOING_AWAY, str(error))
                return
            await self._websocket.send_json({"type": "ack", "frame": number, "taken": taken})

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
        if not isinstance(jpeg, bytes):
            await close(self._websocket, POLICY_VIOLATION, "messages are JPEG pictures")
            return None
        if not await asyncio.to_thread(_is_of_a_camera, jpeg):
            reason = f"messages are JPEG pictures of at most {_MOST_PIXELS / 1e6:g} million pixels"
            await close(self._websocket, POLICY_VIOLATION, reason)
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
