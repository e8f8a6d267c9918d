"""Accounts, uploads and recorded sessions: `open_service` opens them, `UploadService.install` adds their routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from common.clock import SYSTEM_CLOCK, Clock
from common.version import package_version
from receiver.publish.session_directory import SessionDirectory
from receiver.web.access import Access
from receiver.web.accounts.api import accounts_api
from receiver.web.accounts.identity import identify
from receiver.web.accounts.passwords import PasswordHasher
from receiver.web.accounts.service import AccountService
from receiver.web.accounts.store import account_exists
from receiver.web.clips import ClipPlayer
from receiver.web.config import AccountsConfig, UploadConfig
from receiver.web.database.database import Database
from receiver.web.library.api import library_api
from receiver.web.library.clips import ClipService
from receiver.web.library.permissions import LibrarySite
from receiver.web.library.service import Library
from receiver.web.live.hub import LiveHub
from receiver.web.metrics import WebMetrics
from receiver.web.models import store
from receiver.web.models.api import models_api
from receiver.web.models.files import ModelFiles, models_folder
from receiver.web.models.service import ModelService
from receiver.web.pictures import PictureReconstructor
from receiver.web.uploads.jobs import Admission
from receiver.web.uploads.limits import MAX_CLIP_S


class LimitsShown(BaseModel):
    """Limits of uploads."""

    picture_bytes: int
    clip_bytes: int
    clip_seconds: float


@dataclass(frozen=True, slots=True)
class UploadService:
    """Accounts, models and recorded sessions, open."""

    accounts: AccountService
    models: ModelService
    library: Library
    clips: ClipService
    admission: Admission
    uploads: UploadConfig

    @property
    def limits(self) -> LimitsShown:
        """What the page tells about uploads."""
        given = self.uploads
        return LimitsShown(picture_bytes=given.upload_bytes, clip_bytes=given.clip_bytes, clip_seconds=MAX_CLIP_S)

    def install(self, app: FastAPI, access: Access, hub: LiveHub) -> None:
        """Adds the routes, and what their requests look for."""
        app.state.accounts, app.state.models, app.state.admission = self.accounts, self.models, self.admission
        app.state.library = LibrarySite(self.library, self.clips, hub, access, self.accounts.sign_up_open)
        app.include_router(library_api())
        app.include_router(accounts_api(access.may_sign_up))
        app.include_router(models_api())


@asynccontextmanager
async def open_service(
    accounts: AccountsConfig,
    uploads: UploadConfig,
    directory: SessionDirectory,
    pictures: PictureReconstructor,
    player: ClipPlayer,
    *,
    loopback: bool,
    metrics: WebMetrics | None = None,
    passwords: PasswordHasher | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncIterator[UploadService]:
    """Opens database, models and sessions of an output directory; closes them at the end of the block.

    Args:
        directory: the receiver's output, which also has the database and the models.
        player: records uploaded clips.
        loopback: only this machine can reach the page.
        passwords: hashes passwords; tests take a cheap one.

    Raises:
        UsageError: another version has made the database.
        OutputError: the database or the directory cannot be opened.
    """
    metrics = metrics or WebMetrics(CollectorRegistry())
    async with AsyncExitStack() as opened:
        out = directory.config.out
        database = await asyncio.to_thread(Database, out)
        opened.callback(database.close)
        files = await asyncio.to_thread(_recovered_files, out, database)
        hasher = passwords or PasswordHasher()
        library = Library(directory, database, clock)
        admission = Admission(
            uploads,
            lambda account: database.read_async(account_exists, account),
            lambda account: database.read_async(store.count_models, account),
            lambda account: len(library.clips_of(account.name)),
        )
        models = ModelService(uploads, database, files, pictures, clock, metrics, admission)
        opened.push_async_callback(models.close)
        clips = ClipService(uploads, library, player, admission, metrics)
        opened.push_async_callback(clips.close)
        await clips.recover()
        service = AccountService(
            database,
            hasher,
            sign_up=accounts.signs_up(loopback=loopback),
            clock=clock,
            on_sign_in=metrics.sign_in,
        )
        yield UploadService(service, models, library, clips, admission, uploads)


def _recovered_files(out: Path, database: Database) -> ModelFiles:
    files = ModelFiles(models_folder(out))
    files.recover(lambda models: database.read(store.existing_models, models))
    return files


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
    """

    version: str
    sign_up: bool
    live: bool
    browser_camera: bool
    limits: LimitsShown
    senders: SenderHint | None
    account: str | None
    csrf: str | None


def status_routes(
    access: Access, service: UploadService, *, browser_camera: bool, senders: SenderHint | None = None
) -> APIRouter:
    """The route `/api/status`."""
    router = APIRouter(tags=["status"])

    @router.get("/api/status")
    async def status(request: Request) -> StatusShown:
        """What this receiver offers, and who is signed in."""
        identity = await identify(request)
        watches = await access.watcher(request) is not None
        return StatusShown(
            version=package_version(),
            sign_up=service.accounts.sign_up_open and (access.needs_account or access.is_local(request)),
            live=watches,
            browser_camera=browser_camera,
            limits=service.limits,
            senders=senders if watches else None,
            account=identity.account.name if identity else None,
            csrf=identity.csrf if identity else None,
        )

    return router
