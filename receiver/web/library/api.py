"""HTTP routes of recorded sessions, and what they take and show."""

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, StreamingResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from common.errors import UsageError
from common.frames import IDENTITIES
from receiver.mesh.formats import FORMATS, MESH_FORMATS
from receiver.publish.session_records import ALBUM, SessionState, session_of_file
from receiver.web.access import Caller, Holder, Manager
from receiver.web.guards import FILE, Given, SmallBodyRoute, asks_for_head
from receiver.web.library.clips import FIELD, RecordedClip
from receiver.web.library.service import MAX_NAME, chunks
from receiver.web.places import Refused
from receiver.web.site import site_of
from receiver.web.uploads import upload_route


class SessionShown(BaseModel):
    """A recorded session.

    Args:
        name: what somebody has called it, or empty.
        album: whether its frames are pictures of their own, such as those of a folder.
        source: file name or device of the newest frame; of an album, `photos (5)`.
        length_s: from its first frame to its newest, in the source's own time.
        played_s: from the publication of its first frame to that of its newest, in the receiver's time: a video takes
            longer than it plays where the machine is slow.
        people: how many different people were seen, without those who are hidden.
        hidden: ids of those whom somebody has taken out: neither frames nor downloads have them, until they are brought
            back.
        bytes: on the disk.
        last_seq: sequence number of the newest frame.
        connected: whether its sender is.
        may_change: whether you may rename, change and delete it.
        fps: mean of frames a second of `length_s`.
        played_fps: mean of frames a second of `played_s`.
        label_bytes: mean size of a frame's labels.
        link_bps: mean bits a second of `played_s` of everything on the link; null without a link, as in a replay.
        age_ms: mean from capture to mesh; null if unknown.
    """

    number: int
    name: str
    album: bool
    source: str
    began_at: datetime
    ended_at: datetime
    length_s: float
    played_s: float
    people: int
    hidden: list[int]
    frames: int
    last_seq: int
    bytes: int
    connected: bool
    may_change: bool
    fps: float | None
    played_fps: float | None
    label_bytes: float
    link_bps: float | None
    age_ms: float | None

    @classmethod
    def from_state(cls, state: SessionState, *, connected: bool, may_change: bool) -> Self:
        about, frames = state.statistics, state.frames
        length_s, played_s = about.length_s, max(about.ended_at - about.began_at, 0.0)
        return cls(
            number=state.number,
            name=state.name,
            album=state.is_album,
            source=f"{ALBUM} ({frames})" if state.is_album else about.source,
            began_at=datetime.fromtimestamp(about.began_at, UTC),
            ended_at=datetime.fromtimestamp(about.ended_at, UTC),
            length_s=length_s,
            played_s=played_s,
            people=len(about.people.difference(state.hidden)),
            hidden=list(state.hidden),
            frames=frames,
            last_seq=state.last_sequence,
            bytes=about.disk_bytes,
            connected=connected,
            may_change=may_change,
            fps=(frames - 1) / length_s if length_s > 0 else None,
            played_fps=(frames - 1) / played_s if played_s > 0 else None,
            label_bytes=about.label_bytes / max(frames, 1),
            link_bps=8 * about.link_bytes / played_s if played_s > 0 and about.link_bytes else None,
            age_ms=about.mean_age_ms,
        )


class ClipShown(SessionShown):
    """The session of a clip that was uploaded now (`warnings`: what of the clip is damaged or missing)."""

    warnings: list[str]


class SessionsShown(BaseModel):
    """All recorded sessions."""

    sessions: list[SessionShown]


class FramesShown(BaseModel):
    """Consecutive frames of a session: lines of `frames.jsonl` (docs/outputs.md)."""

    frames: list[dict[str, Any]]


class SessionChange(Given):
    """What of a session is to be another: its name, which may be empty, and who is taken out; all others are in it."""

    name: str | None = Field(None, max_length=4 * MAX_NAME)
    hidden: list[int] | None = Field(None, max_length=IDENTITIES, description="ids of `frames.jsonl`")


_MAX_PAGE = 200
# A browser may keep a mesh: a published file never changes.
_KEPT = {"cache-control": "private, max-age=3600"}
_MEDIA_TYPES = {
    **{name: FORMATS[name].media_type for name in MESH_FORMATS},
    **{"gltf": "model/gltf+json", "bin": "application/gltf-buffer", "jpg": "image/jpeg"},
}
_CACHED = StaticFiles()
"""Says whether a browser's copy is the file that there is."""

Number = Annotated[int, PathParameter(ge=1, lt=2**31)]
MeshName = Annotated[str, PathParameter(max_length=60)]
After = Annotated[int, Query(ge=-1, lt=2**53, description="only frames behind this sequence number")]
Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE)]
Format = Literal["glb", "usdz", "bvh", "zip"]


async def _manager(request: Request, visitor: Caller) -> Manager:
    """Who asks, if they may watch. Raises Refused."""
    return await site_of(request).access.manager(request, visitor)


Watching = Annotated[Manager, Depends(_manager)]


async def _found(number: Number, request: Request, manager: Watching) -> SessionState:
    """A session that somebody may see. Raises Refused."""
    return _existing(request, number, manager)


async def _to_change(number: Number, request: Request, manager: Watching) -> SessionState:
    """A session that somebody may change. Raises Refused."""
    state = _existing(request, number, manager)
    if not manager.may_change(state):
        raise Refused(403, "this session is not yours: its own account, or this machine's user, may change it")
    return state


Found = Annotated[SessionState, Depends(_found)]
ToChange = Annotated[SessionState, Depends(_to_change)]


def library_api() -> APIRouter:
    """The routes `/api/sessions`."""
    api = APIRouter(tags=["sessions"])
    path = "/api/sessions/{number}"
    api.get("/api/sessions")(list_sessions)
    described = "MP4, MOV, WebM, Matroska, or a GIF, APNG, WebP or AVIF that moves"
    api.post("/api/sessions", **upload_route(FIELD, described, ClipShown))(upload_clip)
    api.get(path)(show_session)
    api.get(f"{path}/frames", response_model=FramesShown)(list_frames)
    api.get(f"{path}/thumbnail", **FILE)(get_thumbnail)
    api.get(f"{path}/meshes/{{name}}", **FILE)(get_session_mesh)
    api.get(f"{path}/download/{{kind}}", **FILE)(download)
    small = APIRouter(route_class=SmallBodyRoute)
    small.patch(path)(change)
    small.delete(path, status_code=204)(delete)
    api.include_router(small)
    return api


async def list_sessions(request: Request, manager: Watching) -> SessionsShown:
    """Lists the sessions whose frames are on disk."""
    site = site_of(request)
    seen = [_shown(request, state, manager) for state in site.library.sessions() if manager.may_see(state)]
    return SessionsShown(sessions=seen)


async def upload_clip(request: Request, identity: Holder) -> Response:
    """Records what a video shows as a session, and answers when that has ended.

    A client that ends the connection before cancels the upload; nothing is left of it.
    """
    site = site_of(request)
    manager = Manager(identity, all_sessions=False)

    def shown(clip: RecordedClip) -> dict[str, Any]:
        session = _shown(request, clip.state, manager).model_dump(mode="json")
        return {"session": {**session, "warnings": clip.warnings}}

    return await site.clips.answer(
        request, identity.account, shown, lambda clip: f"/api/sessions/{clip.state.number}", cancels=True
    )


async def show_session(request: Request, manager: Watching, state: Found) -> SessionShown:
    """Describes a session."""
    return _shown(request, state, manager)


async def list_frames(request: Request, state: Found, after: After = -1, limit: Limit = 100) -> Response:
    """Frames of a session, in the order in which they were published."""
    # They are JSON already, and to make it anew would keep the event loop for long.
    library = site_of(request).library
    lines = await library.page(state, after, limit)
    return Response(b'{"frames":[%s]}' % b",".join(lines), media_type="application/json")


async def get_thumbnail(request: Request, state: Found) -> Response:
    """A small picture of a session's people."""
    picture = await site_of(request).library.thumbnail(state)
    if picture is None:
        raise Refused(404, "nobody can be drawn of this session")
    return Response(picture, media_type="image/webp", headers={"cache-control": "private, max-age=30"})


async def get_session_mesh(name: MeshName, request: Request, state: Found) -> Response:
    """A mesh file of a session, or one that it refers to.

    Of a body `000123.body.gltf` there are, made when they are asked for, `000123.body.glb`, complete, in its pose, and
    `000123.glb`, without a skeleton, if no surface is on disk.
    """
    site = site_of(request)
    path = site.library.out / "meshes" / name
    media_type = _MEDIA_TYPES.get(path.suffix[1:]) if session_of_file(name) == state.number else None
    found = await anyio.to_thread.run_sync(_status, path) if media_type else None
    if found is None and media_type == _MEDIA_TYPES["glb"]:
        content = await site.library.body(path, await site.access.visitor(request))
        if content is not None:
            return Response(content, media_type=media_type, headers=_KEPT)
    if found is None or not stat.S_ISREG(found.st_mode):
        raise Refused(404, "there is no such mesh")
    response = FileResponse(path, media_type=media_type, headers=_KEPT, stat_result=found)
    if _CACHED.is_not_modified(response.headers, request.headers):
        return NotModifiedResponse(response.headers)
    return response


def _status(path: Path) -> os.stat_result | None:
    """What the system says of a file, link or pipe; None if there is none."""
    with suppress(OSError):
        return path.lstat()
    return None


async def download(kind: Format, request: Request, state: Found, manager: Watching) -> Response:
    """A session as animation, or all of its files; a ZIP of files where a format has one person a file."""
    site = site_of(request)
    downloads, visitor, stem = site.library.downloads, await site.access.visitor(request), state.file_stem
    if asks_for_head(request):
        return StreamingResponse(iter(()), **_attachment(stem, kind))
    if kind == "zip":
        return _Parts(downloads.zipped(state.number, stem, state.hidden, visitor), **_attachment(stem, kind))
    try:
        file, ending = await downloads.export(state.number, kind, stem, visitor)
    except UsageError:
        # It may have been deleted while it was exported or waited for its turn.
        _existing(request, state.number, manager)
        raise
    return StreamingResponse(chunks(file), **_attachment(stem, ending))


def _attachment(stem: str, ending: str) -> dict[str, Any]:
    """Media type and headers of a file that a browser saves."""
    name = quote(f"{stem}.{ending}", safe="")
    media_type = "application/zip" if ending == "zip" else FORMATS[ending].media_type
    return {"media_type": media_type, "headers": {"content-disposition": f"attachment; filename*=UTF-8''{name}"}}


class _Parts(StreamingResponse):
    """An answer that begins with its first part, so that an error before is an answer, and closes whoever makes it."""

    def __init__(self, parts: AsyncGenerator[bytes], **how: Any) -> None:
        super().__init__(self._all(), **how)
        self._parts, self._first = parts, b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._parts):
            self._first = await anext(self._parts)
            await super().__call__(scope, receive, send)

    async def _all(self) -> AsyncIterator[bytes]:
        yield self._first
        async for part in self._parts:
            yield part


async def change(given: SessionChange, request: Request, manager: Watching, state: ToChange) -> SessionShown:
    """Gives a session a name, takes people out of it, or brings them back; its files stay as they are."""
    await site_of(request).library.change(state, given.name, given.hidden)
    return _shown(request, _existing(request, state.number, manager), manager)


async def delete(request: Request, state: ToChange) -> None:
    """Deletes a session with all its files; not one that is live."""
    await site_of(request).library.delete([state])


def _shown(request: Request, state: SessionState, manager: Manager) -> SessionShown:
    live = site_of(request).hub.sessions.get(state.number)
    connected = live is not None and live.connected
    return SessionShown.from_state(state, connected=connected, may_change=manager.may_change(state))


def _existing(request: Request, number: int, manager: Manager) -> SessionState:
    state = site_of(request).library.session(number)
    if state is None or not manager.may_see(state):
        raise Refused(404, "there is no such session")
    return state
