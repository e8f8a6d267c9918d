"""Routes of the live view: the stream, and what is on disk."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, WebSocket
from fastapi import Path as PathParameter
from pydantic import BaseModel
from starlette.responses import FileResponse

from receiver.web.access import Access
from receiver.web.live.hub import LiveHub
from receiver.web.live.recorded import MESH_NAME, RecordedFrames, RecordedSession
from receiver.web.live.socket import POLICY_VIOLATION, TRY_AGAIN_LATER, LiveSocket, close
from receiver.web.metrics import WebMetrics
from receiver.web.problems import problem, problems

_MAX_PAGE = 200
# A browser may keep a mesh: a published file never changes.
_KEPT = {"cache-control": "private, max-age=3600"}
_MESH_TYPES = {".glb": "model/gltf-binary", ".obj": "model/obj", ".ply": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class RecordedSessionOut(RecordedSession):
    """A session on disk, and whether its sender is connected."""

    connected: bool


class RecordedSessionsOut(BaseModel):
    """All sessions on disk."""

    sessions: list[RecordedSessionOut]


class RecordedFramesOut(BaseModel):
    """Consecutive frames of a session: lines of `frames.jsonl` (docs/outputs.md)."""

    frames: list[dict[str, Any]]


def live_routes(hub: LiveHub, out: Path, most_watchers: int, access: Access, metrics: WebMetrics) -> APIRouter:
    """The live stream, and sessions, frames and meshes on disk."""
    router = APIRouter(tags=["live"])
    _add_recorded(router, hub, out, access)

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


def _add_recorded(router: APIRouter, hub: LiveHub, out: Path, access: Access) -> None:
    recorded = RecordedFrames(out)
    may_watch = Depends(access.may_watch)

    @router.get("/api/sessions", dependencies=[may_watch], responses=problems(401, 422))
    async def sessions() -> RecordedSessionsOut:
        """Sessions whose frames are on disk."""
        found = await anyio.to_thread.run_sync(recorded.sessions)
        connected = {state.number for state in hub.sessions.values() if state.connected}
        return RecordedSessionsOut(
            sessions=[RecordedSessionOut(**asdict(session), connected=session.number in connected) for session in found]
        )

    @router.get("/api/sessions/{number}/frames", dependencies=[may_watch], responses=problems(401, 422))
    async def frames(
        number: Annotated[int, PathParameter(ge=1, lt=2**31)],
        after: Annotated[int, Query(ge=-1, lt=2**53, description="only frames behind this sequence number")] = -1,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 100,
    ) -> RecordedFramesOut:
        """Frames of a session, in the order in which they were published."""
        return RecordedFramesOut(frames=await anyio.to_thread.run_sync(recorded.page, number, after, limit))

    @router.get(
        "/meshes/{name}", dependencies=[may_watch], response_class=FileResponse, responses=problems(401, 404, 422)
    )
    async def mesh(name: str) -> FileResponse:
        """A mesh file."""
        path = out / "meshes" / name
        if not MESH_NAME.fullmatch(name) or not await anyio.to_thread.run_sync(path.is_file):
            raise problem(404, "there is no such mesh")
        return FileResponse(path, media_type=_MESH_TYPES[path.suffix], headers=_KEPT)
