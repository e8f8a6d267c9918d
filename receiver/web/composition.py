"""Wires the web page: accounts, uploads, live view and cameras behind one server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputError
from receiver.engine.engine import ReconstructionEngine
from receiver.link.auth.config import SecurityConfig
from receiver.link.frame_handler import FrameHandler
from receiver.metrics import ReceiverMetrics
from receiver.texture.inpainting import TextureInpainter
from receiver.web.access import Access
from receiver.web.accounts.config import AccountsConfig
from receiver.web.app import create_app
from receiver.web.children.cameras import ChildCameras
from receiver.web.children.config import ChildrenConfig
from receiver.web.children.pictures import ChildPictures
from receiver.web.config import WebConfig
from receiver.web.guards import Guard
from receiver.web.live.camera import camera_routes
from receiver.web.live.hub import LiveHub
from receiver.web.live.routes import LiveView, live_routes
from receiver.web.metrics import WebMetrics
from receiver.web.models.config import UploadConfig
from receiver.web.page_files import check_built
from receiver.web.server import WebServer
from receiver.web.service import UploadService, open_service
from receiver.web.status import Offer, status_routes

logger = logging.getLogger(__name__)

_COUNT_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class PageConfig:
    """The options that the page depends on."""

    web: WebConfig
    accounts: AccountsConfig
    uploads: UploadConfig
    children: ChildrenConfig
    security: SecurityConfig
    out: Path


@dataclass(frozen=True, slots=True)
class Backend:
    """What the page is in front of.

    Args:
        engine: reconstructs uploaded pictures too.
        pipeline: takes the frames of browsers' cameras.
        hub: observes the pipeline.
        metrics: the receiver's; the page's own are in their registry.
        completer: estimates what uploaded pictures do not show of people, or None.
    """

    engine: ReconstructionEngine
    pipeline: FrameHandler
    hub: LiveHub
    metrics: ReceiverMetrics
    completer: TextureInpainter | None = None


@asynccontextmanager
async def serve_page(config: PageConfig, backend: Backend) -> AsyncIterator[WebServer]:
    """Serves the page until the end of the block.

    Raises:
        UsageError: the database has the schema of a newer version, or its driver is missing.
        OutputError: the page is not built, or its address, database or directory cannot be used.
    """
    loopback = not config.web.needs_account
    async with AsyncExitStack() as opened:
        check_built()
        server = WebServer(config.web, config.security)
        opened.push_async_callback(server.stop)
        metrics = WebMetrics(backend.metrics.registry)
        pictures = ChildPictures(backend.engine, config.children, metrics=backend.metrics, completer=backend.completer)
        opened.push_async_callback(pictures.close)
        cameras = None
        if config.web.browser_camera:
            cameras = ChildCameras(backend.pipeline, config.children, metrics=backend.metrics)
            opened.push_async_callback(cameras.close)
        service = await opened.enter_async_context(
            open_service(
                config.accounts,
                config.uploads,
                config.out,
                pictures,
                loopback=loopback,
                secure=server.encrypted,
                metrics=metrics,
            )
        )
        access = Access(config.web.needs_account, service.identities.account_name)
        view = LiveView(backend.hub, config.out, config.web.watchers)
        offer = Offer(config.accounts.signs_up(loopback=loopback), config.web.browser_camera)
        app = create_app(
            [
                status_routes(offer, access, service.identities.identify),
                live_routes(view, access, metrics),
                camera_routes(cameras, access),
            ],
        )
        service.install(app)
        server.start(Guard(app, loopback=loopback, encrypted=server.encrypted, metrics=metrics))
        await pictures.start()
        counting = asyncio.create_task(_count_accounts(service, metrics), name="count of accounts")
        opened.callback(counting.cancel)
        yield server
        # Before what the requests depend on is closed.
        await server.stop()


async def _count_accounts(service: UploadService, metrics: WebMetrics) -> None:
    """Keeps the number of accounts in the metrics; the command line makes accounts too."""
    while True:
        try:
            metrics.accounts(await service.accounts.count())
        except OutputError as error:
            logger.warning("%s", error)
        await asyncio.sleep(_COUNT_EVERY_S)
