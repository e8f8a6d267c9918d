"""What the routes of the page work with: accounts, models, sessions, and who watches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from common.clock import SYSTEM_CLOCK, Clock
from receiver.config import AccountsConfig, UploadConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.web.access import Access
from receiver.web.accounts.service import AccountService
from receiver.web.accounts.store import PasswordHasher
from receiver.web.children.pictures import ChildPictures
from receiver.web.children.workshop import Workshop
from receiver.web.database import Database
from receiver.web.decoder import Decoder
from receiver.web.library.clips import ChildClips, ClipService
from receiver.web.library.service import Library
from receiver.web.live.hub import LiveHub
from receiver.web.metrics import WebMetrics
from receiver.web.models import store
from receiver.web.models.service import ModelService
from receiver.web.models.store import ModelFiles, models_folder
from receiver.web.uploads import Admission


@dataclass(frozen=True, slots=True)
class Site:
    """Accounts, models and recorded sessions, open, and the live ones."""

    accounts: AccountService
    models: ModelService
    library: Library
    clips: ClipService
    admission: Admission
    uploads: UploadConfig
    hub: LiveHub
    access: Access
    metrics: WebMetrics


def site_of(connection: HTTPConnection) -> Site:
    """The `Site` of the application; `create_app` puts it there."""
    found: Site = connection.app.state.site
    return found


@asynccontextmanager
async def open_site(
    accounts: AccountsConfig,
    uploads: UploadConfig,
    directory: SessionDirectory,
    pictures: ChildPictures,
    player: ChildClips,
    hub: LiveHub,
    access: Access,
    metrics: WebMetrics,
    *,
    passwords: PasswordHasher | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncIterator[Site]:
    """Opens database, models and sessions of an output directory; closes them at the end of the block.

    Args:
        directory: the receiver's output, which also has the database and the models.
        player: records uploaded clips.
        passwords: hashes passwords; tests take a cheap one.

    Raises:
        UsageError: another version has made the database.
        OutputError: the database or the directory cannot be opened.
    """
    async with AsyncExitStack() as opened:
        out, loop = directory.config.out, asyncio.get_running_loop()
        directory.on_deleted = lambda number: loop.call_soon_threadsafe(hub.session_deleted, number)
        database = await asyncio.to_thread(Database, out)
        files = ModelFiles(models_folder(out))
        await asyncio.to_thread(files.recover, lambda models: database.read(store.existing_models, models))
        workshop = Workshop("bodies, changes and thumbnails")
        opened.push_async_callback(workshop.aclose)
        library = Library(directory, database, workshop, clock)
        opened.push_async_callback(library.downloads.aclose)
        admission, decoder = Admission(uploads, database, library), Decoder()
        opened.callback(decoder.close)
        models = ModelService(uploads, database, files, decoder, pictures, clock, metrics, admission, workshop)
        opened.push_async_callback(models.close)
        clips = ClipService(uploads, library, decoder, player, admission, metrics)
        opened.push_async_callback(clips.close)
        await clips.recover()
        sign_up = accounts.signs_up(loopback=not access.needs_account)
        service = AccountService(database, passwords or PasswordHasher(), sign_up, clock, metrics.sign_in)
        yield Site(service, models, library, clips, admission, uploads, hub, access, metrics)
