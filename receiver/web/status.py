"""What this receiver offers to a visitor."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from common.version import package_version
from receiver.web.accounts.identity import identify
from receiver.web.site import site_of
from receiver.web.uploads.limits import MAX_CLIP_S


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
        watches = await access.watcher(request) is not None
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
