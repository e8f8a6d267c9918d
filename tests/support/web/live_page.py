"""The live page over a real server, with a hub that tests publish frames to."""

import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import connect

from common.frames import Camera, PersonLabels
from common.io.addresses import Address
from receiver.config import AccountsConfig, PublishConfig, SecurityConfig, UploadConfig, WebConfig
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.web.access import Access
from receiver.web.accounts.store import add_account
from receiver.web.app import create_app
from receiver.web.children.sender_child import ChildCameras
from receiver.web.guards import Guard
from receiver.web.live.hub import LiveHub
from receiver.web.metrics import WebMetrics
from receiver.web.server import WebServer
from receiver.web.site import Site, open_site
from tests.support.link.counting_codec import new_session
from tests.support.pictures.fake_pictures import FakePictures
from tests.support.receiver.fake_reconstructor import TETRAHEDRON, tetrahedron_of
from tests.support.web.fake_clips import FakeClips
from tests.support.web.web_service import cheap_passwords

CAMERA = Camera(640, 480, 600.0)


@dataclass
class Page:
    """A page that is served, and the hub behind it."""

    hub: LiveHub
    registry: CollectorRegistry
    address: Address
    out: Path
    site: Site
    directory: SessionDirectory

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def count(self, name: str, **labels: str) -> float:
        """The value of one of the page's metrics."""
        return self.registry.get_sample_value(f"bodywire_web_{name}", labels) or 0.0

    def publish(self, sequence: int, *, coloured: bool = False, texture: bytes = b"") -> None:
        points = np.zeros((17, 3), np.float32)
        person = PersonRecord(0, 0.9, points, points)
        shown = tetrahedron_of(PersonLabels(0, 0.9, {}))
        if coloured:
            mesh = replace(shown.surface, colours=np.full((4, 3), 90 + sequence, np.uint8))
            shown = replace(shown, surface=mesh, body=replace(shown.body, mesh=mesh))
        if texture:
            corners = TextureCorners.from_triangles(TETRAHEDRON.faces, np.zeros((4, 3, 2), np.float32))
            body = replace(shown.body, texture=MeshTexture(corners, texture))
            shown = replace(shown, body=body, surface_corners=corners)
        record = FrameRecord(sequence, "clip.mp4", 0.0, 10.0, 1.0, {"total": 51}, people=(person,))
        self.hub.frame_published(1, record, [shown])

    def revoke_tokens(self) -> None:
        """Anna is signed out."""
        self.site.accounts.database.write(lambda database: database.execute("DELETE FROM secrets"))

    def watch(self, **settings: Any) -> connect:
        return connect(f"ws://{self.address}/live", **settings)

    def camera(self, **settings: Any) -> connect:
        return connect(f"ws://{self.address}/camera", **settings)


@contextlib.asynccontextmanager
async def served(
    folder: Path,
    *,
    needs_account: bool = False,
    watchers: int = 4,
    token: str = "none",
    cameras: ChildCameras | None = None,
    http: str = "127.0.0.1:0",
) -> AsyncIterator[Page]:
    static = folder / "static"
    static.mkdir()
    (static / "index.html").write_text("<title>Bodywire</title>")
    (static / "app-1A2B.js").write_text("// bundle")
    out = folder / "out"
    hub, registry = LiveHub(), CollectorRegistry()
    metrics = WebMetrics(registry)
    hub.session_began(1, new_session())

    server = WebServer(WebConfig(http=Address.parse(http), http_token=token), SecurityConfig())
    access = Access(needs_account, server.token)
    with SessionDirectory(PublishConfig(out)) as directory:
        async with open_site(
            AccountsConfig(sign_up=False),
            UploadConfig(),
            directory,
            FakePictures(),
            FakeClips(directory),
            hub,
            access,
            metrics,
            passwords=cheap_passwords(),
        ) as site:
            site.accounts.database.write(_add_anna)
            app = create_app(site, watchers=watchers, cameras=cameras, files=static)
            server.start(Guard(app, loopback=True, encrypted=False, metrics=metrics))
            try:
                yield Page(hub, registry, server.address, out, site, directory)
            finally:
                await server.stop()


def _add_anna(database: sqlite3.Connection) -> None:
    """An account with the token bw_anna."""
    account = add_account(database, "anna", "hash", 0.0)
    row = ("0" * 16, hashlib.sha256(b"bw_anna").digest(), account.id, "x", 0.0, None)
    database.execute("INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?)", row)
