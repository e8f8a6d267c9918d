"""The accounts and uploads of the web page as an application of their own, with fakes for what is slow."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import argon2
import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from common.clock import Clock
from receiver.config import AccountsConfig, PublishConfig, UploadConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.web.access import Access
from receiver.web.accounts.store import PasswordHasher
from receiver.web.app import SenderHint, create_app
from receiver.web.children.pictures import ChildPictures
from receiver.web.guards import Guard
from receiver.web.live.hub import LiveHub
from receiver.web.metrics import SignInOutcome, UploadOutcome, WebMetrics
from receiver.web.site import Site as PageSite
from receiver.web.site import open_site as open_page_site
from tests.support.web.fake_clips import FakeClips

HOST = "http://127.0.0.1"
PASSWORD = "correct horse battery"


@dataclass
class ManualClock:
    """A clock that stands still until it is moved."""

    now_s: float = 1_800_000_000.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now_s, wall=lambda: self.now_s)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@contextmanager
def limits_by(clock: ManualClock) -> Iterator[None]:
    """Rates are limited by this clock; the library reads the system's."""
    time = SimpleNamespace(time=lambda: clock.now_s)
    with mock.patch("limits.storage.memory.time", time), mock.patch("receiver.web.places.time", time):
        yield


def cheap_passwords() -> PasswordHasher:
    """Hashes that cost nothing."""
    return PasswordHasher(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class NotedOutcomes(WebMetrics):
    """Metrics that also keep the outcomes in order."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self.outcomes: list[str] = []

    def upload(self, outcome: UploadOutcome, seconds: float) -> None:
        super().upload(outcome, seconds)
        self.outcomes.append(outcome)

    def clip(self, outcome: UploadOutcome, seconds: float) -> None:
        super().clip(outcome, seconds)
        self.outcomes.append(outcome)

    def sign_in(self, outcome: SignInOutcome) -> None:
        super().sign_in(outcome)
        self.outcomes.append(outcome)


@dataclass
class Site:
    """A running page.

    Args:
        out: its output directory.
        outcomes: of uploads and of attempts to sign in, for the metrics.
        clients: who was opened by `client`, closed at the end.
    """

    app: FastAPI
    guarded: Guard
    service: PageSite
    directory: SessionDirectory
    clock: ManualClock
    out: Path
    outcomes: list[str]
    clips: FakeClips
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def client(self, host: str = "127.0.0.1", url: str = HOST) -> httpx.AsyncClient:
        """A browser or program at an address, without cookies."""
        transport = httpx.ASGITransport(self.guarded, client=(host, 40_000))
        self.clients.append(httpx.AsyncClient(transport=transport, base_url=url))
        return self.clients[-1]

    async def visitor(self, name: str, host: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser that has signed up."""
        client = self.client(host)
        answer = await client.post("/api/accounts", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return client


@asynccontextmanager
async def open_site(
    out: Path,
    pictures: ChildPictures,
    *,
    accounts: AccountsConfig | None = None,
    uploads: UploadConfig | None = None,
    loopback: bool = True,
    token: str = "",
) -> AsyncIterator[Site]:
    """The page on a clock that stands still (`token`: of its address)."""
    clock = ManualClock()
    metrics = NotedOutcomes()
    async with AsyncExitStack() as opened:
        opened.enter_context(limits_by(clock))
        directory = opened.enter_context(SessionDirectory(PublishConfig(out), clock.clock()))
        clips = FakeClips(directory)
        service = await opened.enter_async_context(
            open_page_site(
                accounts or AccountsConfig(),
                uploads or UploadConfig(),
                directory,
                pictures,
                clips,
                LiveHub(),
                Access(not loopback, token),
                metrics,
                passwords=cheap_passwords(),
                clock=clock.clock(),
            )
        )
        app = create_app(service, watchers=4, senders=SenderHint(port=50051, loopback=loopback, flags=""))
        site = Site(
            app,
            Guard(app, loopback=loopback, encrypted=False, metrics=metrics),
            service,
            directory,
            clock,
            out,
            metrics.outcomes,
            clips,
        )
        try:
            yield site
        finally:
            for client in site.clients:
                await client.aclose()
