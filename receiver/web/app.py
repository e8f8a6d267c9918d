"""The application: the page's files and the API, behind the guards that every request passes."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from common.clock import SYSTEM_CLOCK, Clock
from common.version import package_version
from receiver.web.guards import LastResort, OriginGuard, SecurityHeaders
from receiver.web.malformed_requests import DropLateAnswers
from receiver.web.page_files import PageFile, page_routes
from receiver.web.problems import add_problem_handlers
from receiver.web.request_metrics import CountedRequests, RequestMetrics

DESCRIPTION = """Turns pictures of people into meshes, and shows the people before a sender's camera.

Sign in on the page, or send a token: `Authorization: Bearer bw_…`."""


def create_app(files: dict[str, PageFile], routers: Sequence[APIRouter]) -> FastAPI:
    """The application without its guards.

    Args:
        files: of the built page.
        routers: the API.
    """
    # FastAPI's own pages of documentation load scripts from elsewhere; /docs is one of the page's files.
    app = FastAPI(title="Bodywire", version=package_version(), description=DESCRIPTION, docs_url=None, redoc_url=None)
    add_problem_handlers(app)
    for router in (*routers, page_routes(files)):
        app.include_router(router)
    return app


def guarded(
    app: ASGIApp, *, loopback: bool, encrypted: bool, metrics: RequestMetrics, clock: Clock = SYSTEM_CLOCK
) -> ASGIApp:
    """The application behind its guards, outermost last.

    Args:
        loopback: it listens on the loopback.
        encrypted: it is served over TLS.
    """
    checked = SecurityHeaders(OriginGuard(app, loopback=loopback), encrypted=encrypted)
    return DropLateAnswers(CountedRequests(LastResort(checked, clock=clock), metrics, clock))
