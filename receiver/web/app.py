"""The application: the page's files and the API."""

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from common.errors import OutputError
from common.version import package_version
from receiver.web.access import Access
from receiver.web.accounts.api import accounts_api
from receiver.web.children.sender_child import ChildCameras
from receiver.web.library.api import library_api
from receiver.web.live.socket import camera_routes, live_routes
from receiver.web.models.api import models_api
from receiver.web.problems import PROBLEMS, add_problem_handlers
from receiver.web.site import Site
from receiver.web.status import SenderHint, status_routes

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
