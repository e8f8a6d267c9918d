"""HTTP routes of recorded sessions: for who may watch, and with a link for everybody."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, StreamingResponse

from common.errors import UsageError
from receiver.publish.session_deletion import SessionInUse, session_of_file
from receiver.publish.session_records import SessionState
from receiver.web.access import Access
from receiver.web.accounts.api import Given, SmallBodyRoute
from receiver.web.accounts.identity import Csrf, Identity, check_csrf, check_origin, current_identity
from receiver.web.library.downloads import FORMATS, DownloadsBusy, chunks, zipped
from receiver.web.library.recorded import MESH_NAME
from receiver.web.library.service import MAX_NAME, Library, is_of_account
from receiver.web.library.shares import MAX_SHARES, TooManyShares
from receiver.web.live.hub import LiveHub
from receiver.web.problems import problem, problems, retry_later

_MAX_PAGE = 200
_DAY_S = 86_400.0
# A browser may keep a mesh: a published file never changes.
_KEPT = {"cache-control": "private, max-age=3600"}
_MESH_TYPES = {".glb": "model/gltf-binary", ".obj": "model/obj", ".ply": "application/octet-stream"}

Number = Annotated[int, PathParameter(ge=1, lt=2**31)]
Secret = Annotated[str, PathParameter(pattern="^[A-Za-z0-9_-]{16,64}$", description="of a link")]
MeshName = Annotated[str, PathParameter(max_length=60)]
After = Annotated[int, Query(ge=-1, lt=2**53, description="only frames behind this sequence number")]
Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE)]
Format = Literal["glb", "usdz", "bvh", "zip"]


class SessionShown(BaseModel):
    """A recorded session.

    Args:
        name: what somebody has called it, or empty.
        source: file name or device of the newest frame.
        length_s: from its first frame to its newest.
        people: how many different people were seen.
        bytes: on the disk.
        last_seq: sequence number of the newest frame.
        connected: whether its sender is.
        may_change: whether you may rename, delete and share it.
        fps: mean of frames a second.
        label_bytes: mean size of a frame's labels.
        link_bps: mean bits a second of everything on the link; null without a link.
        age_ms: mean from capture to mesh; null if unknown.
    """

    number: int
    name: str
    source: str
    began_at: datetime
    ended_at: datetime
    length_s: float
    people: int
    frames: int
    last_seq: int
    bytes: int
    connected: bool
    may_change: bool
    fps: float | None
    label_bytes: float
    link_bps: float | None
    age_ms: float | None


class SessionsShown(BaseModel):
    """All recorded sessions."""

    sessions: list[SessionShown]


class FramesShown(BaseModel):
    """Consecutive frames of a session: lines of `frames.jsonl` (docs/outputs.md)."""

    frames: list[dict[str, Any]]


class NameGiven(Given):
    """A name for a session; empty takes it away."""

    name: str = Field(max_length=4 * MAX_NAME)


class ShareGiven(Given):
    """For how long a link is valid."""

    days: float = Field(gt=0, le=365)


class ShareShown(BaseModel):
    """A link in the list."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    created_at: datetime
    expires_at: datetime


class SharesShown(BaseModel):
    """The links of a session that are valid, newest first."""

    shares: list[ShareShown]


class ShareMade(ShareShown):
    """A new link; its secret is shown this once. The page opens it as `/#shared/SECRET`."""

    secret: str


def library_routes(library: Library, hub: LiveHub, access: Access, *, sign_up_open: bool) -> APIRouter:
    """The routes `/api/sessions`, `/api/shared` and `/meshes`.

    Args:
        sign_up_open: visitors can make accounts: where watching needs one, these change their own sessions only.
    """
    return _Routes(library, hub, access, sign_up_open).router()


@dataclass(frozen=True, slots=True)
class _Manager:
    """Who may change some sessions; None without an account, and then all."""

    identity: Identity | None
    all_sessions: bool

    def may_change(self, state: SessionState) -> bool:
        """Whether a session is theirs to change."""
        return self.all_sessions or (self.identity is not None and is_of_account(state, self.identity.account.name))


_NOBODY = _Manager(None, all_sessions=False)


class _Routes:
    def __init__(self, library: Library, hub: LiveHub, access: Access, sign_up_open: bool) -> None:
        self._library, self._hub, self._access = library, hub, access
        self._trusted = not (access.needs_account and sign_up_open)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["sessions"], route_class=SmallBodyRoute)
        may_watch = [Depends(self._access.may_watch)]
        router.get("/api/sessions", dependencies=may_watch, responses=problems(401))(self._list)
        router.get("/meshes/{name}", dependencies=may_watch, **_file(401, 404, 422))(self._mesh)
        self._add_reading(router, "/api/sessions/{number}", self._by_number, (401, 404, 422))
        self._add_reading(router, "/api/shared/{secret}", self._by_secret, (404, 422))
        self._add_changes(router)
        return router

    def _add_reading(
        self, router: APIRouter, path: str, of_request: Callable[..., Awaitable[SessionState]], errors: Sequence[int]
    ) -> None:
        library = self._library
        wanted: Any = Depends(of_request)
        name = path.split("/")[2]

        async def show(request: Request, state: SessionState = wanted) -> SessionShown:
            """Describes a session."""
            # Whoever has a link changes nothing by it.
            return self._shown(state, _NOBODY if "secret" in request.path_params else await self._manager(request))

        async def frames(after: After = -1, limit: Limit = 100, state: SessionState = wanted) -> FramesShown:
            """Frames of a session, in the order in which they were published."""
            library.usage.touched(state.number)
            found = await anyio.to_thread.run_sync(library.frames.page, state.number, after, limit)
            return FramesShown(frames=found)

        async def thumbnail(state: SessionState = wanted) -> Response:
            """A small picture of a session's people."""
            picture = await library.thumbnail(state)
            if picture is None:
                raise problem(404, "nobody can be drawn of this session")
            return Response(picture, media_type="image/webp", headers={"cache-control": "private, max-age=30"})

        async def mesh(name: MeshName, state: SessionState = wanted) -> FileResponse:
            """A mesh file of a session."""
            library.usage.touched(state.number)
            return await self._mesh_file(name, state.number)

        async def download(kind: Format, state: SessionState = wanted) -> Response:
            """A session as animation, or all of its files; a ZIP of files where a format has one person a file."""
            return await self._download(state, kind)

        for suffix, function, settings in (
            ("", show, {"responses": problems(*errors)}),
            ("/frames", frames, {"responses": problems(*errors)}),
            ("/thumbnail", thumbnail, _file(*errors)),
            ("/meshes/{name}", mesh, _file(*errors)),
            ("/download/{kind}", download, _file(*errors, 429, 503)),
        ):
            identifier = f"{name}{suffix.replace('/', '_').replace('{', '').replace('}', '')}"
            router.get(path + suffix, operation_id=identifier, **settings)(function)

    def _add_changes(self, router: APIRouter) -> None:
        library = self._library
        path, errors = "/api/sessions/{number}", (400, 401, 403, 404, 408, 409, 413, 422, 503)
        manage: Any = Depends(self._manage)

        async def rename(number: Number, given: NameGiven, manager: _Manager = manage) -> SessionShown:
            """Gives a session a name."""
            self._changed(number, manager)
            try:
                await library.rename(number, given.name)
            except ValueError as error:
                raise problem(422, str(error)) from error
            return self._shown(self._changed(number, manager), manager)

        async def delete(number: Number, manager: _Manager = manage) -> None:
            """Deletes a session with all its files and links; not one that is live."""
            state = self._changed(number, manager)
            try:
                await library.delete([state])
            except SessionInUse as error:
                raise problem(409, str(error)) from error

        async def list_shares(number: Number, manager: _Manager = manage) -> SharesShown:
            """Lists the links of a session, without their secrets."""
            found = await library.shares(self._changed(number, manager))
            return SharesShown(shares=[ShareShown.model_validate(share) for share in found])

        async def share(number: Number, given: ShareGiven, manager: _Manager = manage) -> ShareMade:
            """Makes a link with which everybody may see this session; the answer alone has its secret."""
            state = self._changed(number, manager)
            if state.identifier is None:
                raise problem(409, "the record of this session is lost, so it cannot be shared")
            account = manager.identity.account.id if manager.identity else None
            try:
                made = await library.share(state, account, _DAY_S * given.days)
            except TooManyShares as error:
                raise problem(409, f"the session has {MAX_SHARES} links: revoke one first") from error
            times = [datetime.fromtimestamp(at, UTC) for at in (made.created_at, made.expires_at)]
            return ShareMade(id=made.id, created_at=times[0], expires_at=times[1], secret=made.secret)

        async def unshare(number: Number, share: ShareId, manager: _Manager = manage) -> None:
            """Revokes a link at once."""
            if not await library.unshare(self._changed(number, manager), share):
                raise problem(404, "there is no such link")

        router.patch(path, responses=problems(*errors))(rename)
        router.delete(path, status_code=204, responses=problems(*errors))(delete)
        router.get(f"{path}/shares", responses=problems(*errors))(list_shares)
        router.post(f"{path}/shares", status_code=201, responses=problems(*errors))(share)
        router.delete(f"{path}/shares/{{share}}", status_code=204, responses=problems(*errors))(unshare)

    async def _list(self, request: Request) -> SessionsShown:
        """Lists the sessions whose frames are on disk."""
        manager = await self._manager(request)
        return SessionsShown(sessions=[self._shown(state, manager) for state in self._library.sessions()])

    async def _mesh(self, name: MeshName) -> FileResponse:
        """A mesh file."""
        return await self._mesh_file(name, None)

    async def _mesh_file(self, name: str, number: int | None) -> FileResponse:
        path = self._library.out / "meshes" / name
        known = MESH_NAME.fullmatch(name) and (number is None or session_of_file(name) == number)
        if not known or not await anyio.to_thread.run_sync(path.is_file):
            raise problem(404, "there is no such mesh")
        return FileResponse(path, media_type=_MESH_TYPES[path.suffix], headers=_KEPT)

    async def _download(self, state: SessionState, kind: Format) -> Response:
        ending = kind
        if kind == "zip":
            content = zipped(self._library.out, state.number, self._library.usage)
        else:
            try:
                file, made = await self._library.exports.export(state.number, kind)
            except UsageError as error:
                raise problem(422, str(error)) from error
            except DownloadsBusy as error:
                raise retry_later(429, "other sessions are being exported: try again in a minute", 60.0) from error
            content, ending = chunks(file), "zip" if made == "zip" else kind
        name = f"session-{state.number}.{ending}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(content, media_type=FORMATS[ending], headers=headers)

    async def _by_number(self, number: Number, request: Request) -> SessionState:
        await self._access.may_watch(request)
        return self._existing(number)

    async def _by_secret(self, secret: Secret) -> SessionState:
        state = await self._library.shared(secret)
        if state is None:
            raise problem(404, "this link is no longer valid: ask for another one")
        return state

    async def _manage(self, request: Request, csrf: Csrf = None) -> _Manager:
        await check_origin(request)
        await self._access.may_watch(request)
        manager = await self._manager(request)
        if manager.identity is not None and request.method != "GET":
            check_csrf(manager.identity, csrf)
        return manager

    async def _manager(self, request: Request) -> _Manager:
        watcher = await self._access.watcher(request)
        identity = await current_identity(request) if watcher else None
        return _Manager(identity, watcher is not None and self._trusted)

    def _existing(self, number: int) -> SessionState:
        state = self._library.session(number)
        if state is None:
            raise problem(404, "there is no such session")
        return state

    def _changed(self, number: int, manager: _Manager) -> SessionState:
        """A session that somebody may change."""
        state = self._existing(number)
        if not manager.may_change(state):
            raise problem(403, "this session is not yours: its own account, or this machine's user, may change it")
        return state

    def _shown(self, state: SessionState, manager: _Manager) -> SessionShown:
        live = self._hub.sessions.get(state.number)
        about, frames = state.statistics, state.frames
        seconds = about.length_s
        return SessionShown(
            number=state.number,
            name=state.name,
            source=about.source,
            began_at=datetime.fromtimestamp(about.began_at, UTC),
            ended_at=datetime.fromtimestamp(about.ended_at, UTC),
            length_s=seconds,
            people=len(about.people),
            frames=frames,
            last_seq=state.last_sequence,
            bytes=about.disk_bytes,
            connected=live is not None and live.connected,
            may_change=manager.may_change(state),
            fps=(frames - 1) / seconds if seconds > 0 else None,
            label_bytes=about.label_bytes / max(frames, 1),
            link_bps=8 * about.link_bytes / seconds if seconds > 0 and about.link_bytes else None,
            age_ms=about.mean_age_ms,
        )


ShareId = Annotated[str, PathParameter(pattern="^[0-9a-f]{16}$", description="of the list of links")]


def _file(*errors: int) -> dict[str, Any]:
    """What a route that answers with a file says of its answers."""
    content = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    described: dict[int | str, dict[str, Any]] = {200: {"description": "The file.", "content": content}}
    return {"response_class": Response, "responses": {**problems(*errors), **described}}
