"""The application: the page's files and the API."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, FastAPI

from common.version import package_version
from receiver.web.page_files import BUILT, page_routes
from receiver.web.problems import add_problem_handlers

DESCRIPTION = """Turns pictures of people into meshes, and shows the people before a sender's camera.

Sign in on the page, or send a token: `Authorization: Bearer bw_…`."""


def create_app(routers: Sequence[APIRouter], files: Path = BUILT) -> FastAPI:
    """The application, to be served behind a `Guard`.

    Args:
        routers: the API.
        files: folder of the built page.
    """
    # FastAPI's own pages of documentation load scripts from elsewhere; /docs is one of the page's files.
    app = FastAPI(title="Bodywire", version=package_version(), description=DESCRIPTION, docs_url=None, redoc_url=None)
    add_problem_handlers(app)
    for router in (*routers, page_routes(files)):
        app.include_router(router)
    return app
