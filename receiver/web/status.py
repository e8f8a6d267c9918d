"""What the page asks first: what this receiver offers, and who is signed in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from common.version import package_version
from receiver.web.access import Access
from receiver.web.accounts.identity import Identity


class StatusShown(BaseModel):
    """What this receiver offers to this visitor."""

    version: str
    accounts: bool
    sign_up: bool
    live: bool
    browser_camera: bool
    pictures: bool
    account: str | None
    csrf: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What the receiver offers to everybody.

    Args:
        sign_up: visitors may make accounts.
        browser_camera: it takes cameras of browsers.
    """

    sign_up: bool
    browser_camera: bool


def status_routes(
    offer: Offer, access: Access, identify: Callable[[HTTPConnection], Awaitable[Identity | None]]
) -> APIRouter:
    """The route `/api/status`."""
    router = APIRouter(tags=["status"])

    @router.get("/api/status")
    async def status(request: Request) -> StatusShown:
        """What this receiver offers, and who is signed in."""
        identity = await identify(request)
        return StatusShown(
            version=package_version(),
            accounts=True,
            sign_up=offer.sign_up,
            live=await access.watcher(request) is not None,
            browser_camera=offer.browser_camera,
            pictures=True,
            account=identity.account.name if identity else None,
            csrf=identity.csrf if identity else None,
        )

    return router
