"""The route that takes cameras of browsers."""

from contextlib import suppress

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from receiver.web.access import Access
from receiver.web.children.cameras import ChildCameras
from receiver.web.live.camera_socket import CameraSocket
from receiver.web.live.socket import POLICY_VIOLATION, TRY_AGAIN_LATER, close
from receiver.web.pictures import PicturesUnavailable


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
