"""The accounts and uploads of the web page as an application of their own, with fakes for what is slow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import argon2
import httpx
from fastapi import FastAPI, Request

from common.clock import Clock
from receiver.web.accounts.config import AccountsConfig
from receiver.web.accounts.identity import current_identity
from receiver.web.accounts.passwords import PasswordHasher
from receiver.web.models.config import UploadConfig
from receiver.web.pictures import PictureReconstructor
from receiver.web.service import UploadService, open_service

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


def cheap_passwords() -> PasswordHasher:
    """Hashes that cost nothing."""
    return PasswordHasher(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@dataclass
class Site:
    """A running page.

    Args:
        out: its output directory.
        outcomes: of uploads and of attempts to sign in, for the metrics.
        clients: who was opened by `client`, closed at the end.
    """

    app: FastAPI
    service: UploadService
    clock: ManualClock
    out: Path
    outcomes: list[str]
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def client(self, host: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser or program at an address, without cookies."""
        transport = httpx.ASGITransport(self.app, client=(host, 40_000))
        self.clients.append(httpx.AsyncClient(transport=transport, base_url=HOST))
        return self.clients[-1]

    async def visitor(self, name: str, host: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser that has signed up, and sends its CSRF token."""
        client = self.client(host)
        answer = await client.post("/api/accounts", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client


def create_app_for_tests(service: UploadService) -> FastAPI:
    """The routes with a status like that of the receiver's page."""
    app = FastAPI()
    service.install(app)

    async def status(request: Request) -> dict[str, str | None]:
        identity = await current_identity(request)
        return {"account": identity.account.name if identity else None, "csrf": identity.csrf if identity else None}

    app.get("/api/status")(status)
    return app


@asynccontextmanager
async def open_site(
    out: Path,
    pictures: PictureReconstructor | None,
    *,
    accounts: AccountsConfig | None = None,
    uploads: UploadConfig | None = None,
    loopback: bool = True,
    secure: bool = False,
) -> AsyncIterator[Site]:
    """The page on a clock that stands still."""
    clock = ManualClock()
    outcomes: list[str] = []
    async with open_service(
        accounts or AccountsConfig(),
        uploads or UploadConfig(),
        out,
        pictures,
        loopback=loopback,
        secure=secure,
        on_upload=outcomes.append,
        on_sign_in=outcomes.append,
        passwords=cheap_passwords(),
        clock=clock.clock(),
    ) as service:
        site = Site(create_app_for_tests(service), service, clock, out, outcomes)
        try:
            yield site
        finally:
            for client in site.clients:
                await client.aclose()
