"""The accounts and uploads on a real port, in a thread."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry

from receiver.web.guards import Guard
from receiver.web.metrics import WebMetrics
from receiver.web.models.config import UploadConfig
from tests.support.fake_pictures import FakePictures
from tests.support.web_service import open_site


@contextmanager
def running_site(out: Path) -> Iterator[str]:
    """Serves on a free port of the loopback; yields the address, `http://127.0.0.1:PORT`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready, server = threading.Event(), _Servers()
        thread = threading.Thread(target=lambda: asyncio.run(_serve(out, listener, server, ready)))
        thread.start()
        try:
            assert ready.wait(60)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stop()
            thread.join(60)


class _Servers:
    """The server, once it is made."""

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None

    def stop(self) -> None:
        if self.server is not None:
            self.server.should_exit = True


async def _serve(out: Path, listener: socket.socket, servers: _Servers, ready: threading.Event) -> None:
    # No limit of the rate: attacks on what comes after it would not get there.
    async with open_site(out, FakePictures(), uploads=UploadConfig(uploads_per_minute=1e6)) as site:
        guarded = Guard(site.app, loopback=True, encrypted=False, metrics=WebMetrics(CollectorRegistry()))
        config = uvicorn.Config(guarded, log_level="warning", log_config=None, lifespan="off", ws="none")
        servers.server = uvicorn.Server(config)
        task = asyncio.create_task(servers.server.serve(sockets=[listener]))
        while not servers.server.started:
            await asyncio.sleep(0.01)
        ready.set()
        await task
