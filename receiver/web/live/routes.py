"""The route of the live stream."""

from functools import partial

from fastapi import APIRouter, WebSocket

from receiver.web.access import Access
from receiver.web.live.hub import LiveHub
from receiver.web.live.socket import POLICY_VIOLATION, TRY_AGAIN_LATER, LiveSocket, close
from receiver.web.metrics import WebMetrics


def live_routes(hub: LiveHub, most_watchers: int, access: Access, metrics: WebMetrics) -> APIRouter:
    """The live stream."""
    router = APIRouter(tags=["live"])

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
        with hub.watcher(visitor) as watcher:
            metrics.watcher_connected()
            try:
                signed_out = partial(access.until_signed_out, websocket)
                await LiveSocket(websocket, hub, watcher, metrics, signed_out).serve()
            finally:
                metrics.watcher_left()

    return router
