"""What the page asks first: what this receiver offers, and who is signed in."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from common.version import package_version
from receiver.web.access import Access
from receiver.web.service import UploadService


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


def status_routes(access: Access, service: UploadService, *, browser_camera: bool) -> APIRouter:
    """The route `/api/status`."""
    router = APIRouter(tags=["status"])

    @router.get("/api/status")
    async def status(request: Request) -> StatusShown:
        """What this receiver offers, and who is signed in."""
        identity = await service.identities.identify(request)
        return StatusShown(
            version=package_version(),
            accounts=True,
            sign_up=service.accounts.sign_up_open,
            live=await access.watcher(request) is not None,
            browser_camera=browser_camera,
            pictures=True,
            account=identity.account.name if identity else None,
            csrf=identity.csrf if identity else None,
        )

    return router
