"""The application: the page's files, what this receiver offers to a visitor, and the rest of the API."""

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from common.errors import OutputError
from common.version import package_version
from receiver.web.access import Access, identify
from receiver.web.accounts.api import accounts_api
from receiver.web.children.sender_child import ChildCameras
from receiver.web.decoder import MAX_CLIP_S
from receiver.web.guards import PROBLEMS, add_problem_handlers
from receiver.web.library.api import library_api
from receiver.web.live.socket import camera_routes, live_routes
from receiver.web.models.api import models_api
from receiver.web.site import Site, site_of

BUILT = Path(__file__).with_name("static")
"""Where the build puts the page (`setup.py`)."""

# A browser asks each time, and is answered "not modified" without the content.
_REVALIDATED = "no-cache"
# Names with a hash of the content never change their content.
_IMMUTABLE = "public, max-age=31536000, immutable"


def check_built(folder: Path = BUILT) -> None:
    """Checks that the page was built. Raises OutputError if it was not."""
    if not (folder / "index.html").is_file():
        raise OutputError(
            f"the web page is not built ({folder} has no index.html): install Bodywire again, or --no-page"
        )


class _PageFiles(StaticFiles):
    """The files, with what browsers may keep of them."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        path = Path(full_path)
        # esbuild appends a hash to the names of bundles: app-7K2QXJ5A.js.
        hashed = "-" in path.stem and path.suffix in (".js", ".css")
        response.headers["cache-control"] = _IMMUTABLE if hashed else _REVALIDATED
        return response


def page_routes(access: Access, folder: Path = BUILT) -> APIRouter:
    """Routes of the page: `/`, `/docs` and `/static/…`."""
    router = APIRouter(include_in_schema=False)
    files = _PageFiles(directory=folder, check_dir=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return access.entered(request) or await files.get_response("index.html", request.scope)

    @router.get("/docs")
    async def documentation(request: Request) -> Response:
        return await files.get_response("docs/index.html", request.scope)

    @router.get("/static/{name:path}")
    async def static(request: Request, name: str) -> Response:
        return await files.get_response(name, request.scope)

    return router


class LimitsShown(BaseModel):
    """Limits of uploads."""

    picture_bytes: int
    clip_bytes: int
    clip_seconds: float


class SenderHint(BaseModel):
    """How senders reach this receiver.

    Args:
        loopback: only those of its own machine do.
        flags: what they need beside its address.
    """

    port: int
    loopback: bool
    flags: str


class StatusShown(BaseModel):
    """What this receiver offers to this visitor.

    Args:
        senders: for who may watch; null in a replay.
        models: whether pictures may be uploaded; without an account, only the newest is kept.
    """

    version: str
    sign_up: bool
    live: bool
    browser_camera: bool
    limits: LimitsShown
    senders: SenderHint | None
    account: str | None
    models: bool


def status_routes(*, browser_camera: bool, senders: SenderHint | None) -> APIRouter:
    """The route `/api/status`."""
    router = APIRouter(tags=["status"])

    @router.get("/api/status")
    async def status(request: Request) -> StatusShown:
        """What this receiver offers, and who is signed in."""
        site, identity = site_of(request), await identify(request)
        access, uploads = site.access, site.uploads
        watches = await access.visitor(request) is not None
        return StatusShown(
            version=package_version(),
            sign_up=site.accounts.sign_up_open and (access.needs_account or access.is_local(request)),
            live=watches,
            browser_camera=browser_camera,
            limits=LimitsShown(
                picture_bytes=uploads.upload_bytes, clip_bytes=uploads.clip_bytes, clip_seconds=MAX_CLIP_S
            ),
            senders=senders if watches else None,
            account=identity.account.name if identity else None,
            models=identity is not None or access.is_owner(request),
        )

    return router


DESCRIPTION = """Turns pictures of people into meshes, and shows the people before a sender's camera.

Sign in on the page, or send a token: `Authorization: Bearer bw_…`."""


def create_app(
    site: Site,
    *,
    watchers: int,
    cameras: ChildCameras | None = None,
    senders: SenderHint | None = None,
    files: Path = BUILT,
) -> FastAPI:
    """The application, to be served behind a `Guard`.

    Args:
        watchers: most browsers that watch at a time.
        cameras: of browsers; without it they are refused.
        senders: how they reach this receiver; None in a replay.
    """
    # FastAPI's own pages of documentation load scripts from elsewhere; /docs is one of the page's files.
    # Addresses are relative: a proxy may have put all into a folder, which redirects of Starlette would leave.
    app = FastAPI(
        title="Bodywire",
        version=package_version(),
        description=DESCRIPTION,
        servers=[{"url": "./"}],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    add_problem_handlers(app)
    for router in (
        status_routes(browser_camera=cameras is not None, senders=senders),
        live_routes(site, watchers),
        camera_routes(cameras, site.access),
        library_api(),
        accounts_api(site.access.may_sign_up),
        models_api(),
        page_routes(site.access, files),
    ):
        app.include_router(router, responses=dict(PROBLEMS))
    return app
