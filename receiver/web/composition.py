"""Wires the web page: accounts, uploads, live view and cameras behind one server."""

import asyncio
import logging
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from common.errors import OutputError
from common.io.addresses import Address
from receiver.config import ReceiverConfig
from receiver.link.server import LinkServer
from receiver.mesh.skinned_glb import Skeleton
from receiver.openings import Openings
from receiver.ports import sender_flags
from receiver.web.access import Access
from receiver.web.accounts.store import count_accounts
from receiver.web.app import SenderHint, check_built, create_app
from receiver.web.children.pictures import ChildPictures
from receiver.web.children.sender_child import SENDER, ChildCameras
from receiver.web.guards import Guard
from receiver.web.library.clips import ChildClips
from receiver.web.live.hub import LiveHub
from receiver.web.metrics import WebMetrics
from receiver.web.server import WebServer
from receiver.web.site import Site, open_site

logger = logging.getLogger(__name__)

_EVERY_S = 60.0


@asynccontextmanager
async def serve_page(
    config: ReceiverConfig,
    opened: Openings,
    skeleton: Skeleton,
    link: LinkServer,
    hub: LiveHub,
    waiting: Process | None,
    senders: Address | None,
) -> AsyncIterator[WebServer]:
    """Serves the page until the end of the block.

    Args:
        opened: of it, directory, page and limits of connections; the page's own metrics are in the receiver's registry.
        skeleton: of all bodies.
        link: takes the frames of pictures, clips and browsers' cameras.
        waiting: a sender process for pictures (`receiver.web.children.standby`), if one has been started.
        senders: where senders are listened for, or None.

    Raises:
        UsageError: another version has made the database.
        OutputError: the page is not built, or its address, database or directory cannot be used.
    """
    limits, metrics = opened.limits, opened.metrics
    async with AsyncExitStack() as resources:
        check_built()
        server = WebServer(config.web, config.security, limits.page, limits.kept_free_from, opened.page)
        resources.push_async_callback(server.stop)
        web_metrics = WebMetrics(metrics.registry)
        sender = (*SENDER, "--device", config.device.device)
        pictures = ChildPictures(link, skeleton, metrics, sender, waiting)
        resources.push_async_callback(pictures.close)
        cameras = ChildCameras(link, config.web.browser_cameras, metrics, sender)
        resources.push_async_callback(cameras.close)
        clips = ChildClips(link, metrics, sender)
        access = Access(config.web.needs_account, server.token)
        site = await resources.enter_async_context(
            open_site(config.accounts, config.uploads, opened.directory, pictures, clips, hub, access, web_metrics)
        )
        hint = None
        if senders is not None:
            flags = "" if senders.is_loopback else sender_flags(config.security)
            hint = SenderHint(port=senders.port, loopback=senders.is_loopback, flags=flags)
        app = create_app(
            site,
            watchers=config.web.watchers,
            cameras=cameras if config.web.browser_cameras else None,
            senders=hint,
        )
        loopback, hosts = not config.web.needs_account, config.web.hosts
        server.start(Guard(app, loopback=loopback, encrypted=server.encrypted, metrics=web_metrics, hosts=hosts))
        looking = asyncio.create_task(look_after_accounts(site), name="accounts")
        resources.callback(looking.cancel)
        yield server
        # Before what the requests depend on is closed.
        await server.stop()


async def look_after_accounts(site: Site) -> None:
    """Counts accounts, and deletes the sessions of those that were removed; the command line does both, too."""
    while True:
        try:
            site.metrics.accounts(await site.accounts.database.read_async(count_accounts))
            await site.library.delete_of_removed()
        except OutputError as error:
            logger.warning("%s", error)
        await asyncio.sleep(_EVERY_S)
