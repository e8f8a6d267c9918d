"""The page and everything behind it but senders and networks: people of an output directory are played as live."""

import asyncio
import itertools
import json
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from common.arrays import Image
from common.blobs import PREVIEW, Blob
from common.frames import Camera, PersonLabels
from common.io.addresses import Address
from common.io.tasks import cancel
from common.texture.face_picture import LandmarkShapes, LiveFace
from common.wire.frame_messages import SenderReport
from common.wire.traffic import LABELS
from receiver.config import AccountsConfig, PublishConfig, SecurityConfig, UploadConfig, WebConfig
from receiver.engine.engine import ReconstructedPerson
from receiver.export.rigging import load_body_skin, posed, rig_one
from receiver.mesh.body_file import read_body, read_mesh
from receiver.mesh.limbs import limbs_of_vertices
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.surface.people import carried_corners
from receiver.web.access import Access
from receiver.web.app import SenderHint, create_app
from receiver.web.children.pictures import ChildPictures, ReconstructedPicture
from receiver.web.children.sender_child import ChildCamera, ChildCameras
from receiver.web.composition import look_after_accounts
from receiver.web.guards import Guard
from receiver.web.live.hub import LiveHub
from receiver.web.metrics import PICTURE_STAGES, WebMetrics
from receiver.web.places import Refused, Visitor
from receiver.web.server import WebServer
from receiver.web.site import open_site
from tests.support.link.counting_codec import new_session
from tests.support.pictures.fake_pictures import BLOB_BYTES, KINDS, FakePictures
from tests.support.receiver.fake_reconstructor import tetrahedron_of
from tests.support.web.fake_clips import FakeClips
from tests.support.web.web_service import cheap_passwords

SENDERS = ("hall", "studio")
WORN = {**KINDS, "sleeve": "short"}
"""What the person of the demo clip is read to wear."""
REPORT = SenderReport(
    stages_ms={"capture": 3.1, "perception": 31.5},
    capacity_bps=1_850_000,
    round_trip_ms=23.4,
    people_limit=3,
    camera_fps=30.0,
)
SENDER_HINT = SenderHint(port=50123, loopback=False, flags=" --insecure")
FRAME_BYTES = 258
"""Of all messages of a frame."""


@dataclass(frozen=True)
class PlayedFrame:
    """A frame of an output directory."""

    record: FrameRecord
    people: tuple[ReconstructedPerson, ...]


class PageServer:
    """Serves on a free port of the loopback, in a thread of its own; plays when the first browser watches.

    People have the colours of their files, or `texture`, if it is set before a browser comes, which gets `most_frames`
    with a person at each place of `crowd`. People of uploads lack the limbs of `unseen`. What is below `prefix` is
    answered, as behind a proxy that strips it.

    Args:
        output: of a receiver; its frames are sent again and again, one session for each of `sessions`.
        folder: for a copy of the output, accounts and models.
        preview: a JPEG picture that the senders share.
        pictures: reconstructs uploads; without it, everybody gets the people of the last frame, or the crowd.
        uploads: their limits.
    """

    def __init__(
        self,
        output: Path,
        folder: Path,
        preview: bytes = b"",
        pictures: ChildPictures | None = None,
        uploads: UploadConfig | None = None,
    ) -> None:
        self.frames = _read_frames(output)
        self._pictures, self._uploads = pictures or _Pictures(self), uploads or UploadConfig()
        self.sessions, self.most_frames = 1, sys.maxsize
        self.crowd: Sequence[float] = (0.0,)
        self.texture: MeshTexture | None = None
        self.unseen: Sequence[str] = ()
        self._corners: TextureCorners | None = None
        self.needs_account = False
        self.prefix = ""
        self.camera_pictures: list[bytes] = []
        self.camera_refusal = ""
        self.picture_error: Exception | None = None
        self.hub = LiveHub()
        self._registry = CollectorRegistry()
        self._metrics = WebMetrics(self._registry)
        self._folder, self._preview = folder, preview
        _copy(output, folder)
        self._port = 0
        self._stop: Callable[[], object] = lambda: None
        self._in_loop: Callable[[Callable[[], None]], object] = lambda _: None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def frames_shown(self) -> float:
        """How many frames browsers got; none gets a third before it has acknowledged the first."""
        return self._registry.get_sample_value("bodywire_web_frames_shown_total") or 0.0

    @property
    def models(self) -> list[Path]:
        """The folders of models."""
        return list((self._folder / "models").iterdir())

    def start(self) -> Self:
        """Serves on the port of the previous start, if there was one."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(60)
        return self

    def stop(self) -> None:
        """Drops all connections."""
        self._stop()
        if self._thread:
            self._thread.join(30)

    def end_sessions(self, *numbers: int) -> None:
        """The senders of some sessions end, or all."""
        for number in numbers or range(1, self.sessions + 1):
            self._in_loop(partial(self.hub.session_ended, number))

    def show_face(self, picture: Image) -> None:
        """A live picture of the face of the first session's person comes."""
        face = LiveFace(picture, LandmarkShapes.load().mean)
        self._in_loop(partial(self.hub.face_shown, 1, 0, face))

    def release_clips(self) -> None:
        """Clips that `clips.gate` holds back go on."""
        self._in_loop(self.clips.gate.set)

    def reconstructed(self) -> ReconstructedPicture:
        """The people of the last frame, for any uploaded picture."""
        people = self._dressed(_crowded(self.frames[-1], self.crowd))
        unseen = dict.fromkeys(self.unseen, 0.0)
        people = tuple(replace(one, labels=replace(one.labels, confidence=unseen)) for one in people)
        kinds = {person.labels.identity: WORN for person in people}
        unsure, blobs = dict.fromkeys(kinds, ("headwear",)), dict.fromkeys(kinds, BLOB_BYTES)
        return ReconstructedPicture(640, 480, people, 112, load_body_skin()[1].skeleton, kinds, unsure, blobs)

    async def _serve(self, started: threading.Event) -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        self._in_loop = loop.call_soon_threadsafe
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        self.hub = LiveHub(limbs=limbs_of_vertices(load_body_skin()[1].skeleton))
        server = WebServer(WebConfig(http=Address("127.0.0.1", self._port), http_token="none"), SecurityConfig())
        self._port = server.address.port
        async with AsyncExitStack() as opened:
            self.directory = opened.enter_context(SessionDirectory(PublishConfig(self._folder)))
            self.clips = FakeClips(self.directory)
            access = Access(self.needs_account)
            site = await opened.enter_async_context(
                open_site(
                    AccountsConfig(),
                    self._uploads,
                    self.directory,
                    self._pictures,
                    self.clips,
                    self.hub,
                    access,
                    self._metrics,
                    passwords=cheap_passwords(),
                )
            )
            app = create_app(site, watchers=4, cameras=_Cameras(self), senders=SENDER_HINT)
            server.start(self._stripping(Guard(app, loopback=True, encrypted=False, metrics=self._metrics)))
            working = [asyncio.create_task(self._play())]
            working.append(asyncio.create_task(look_after_accounts(site)))
            started.set()
            await stopped.wait()
            await cancel(working)
            await server.stop()

    def _stripping(self, app: ASGIApp) -> ASGIApp:
        async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"].removeprefix(self.prefix) if scope["path"].startswith(self.prefix) else "/outside"
            await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

        return proxy

    async def _play(self) -> None:
        while not self.hub.watchers:
            await asyncio.sleep(0.02)
        links = {number: new_session() for number in range(1, self.sessions + 1)}
        for number, link in links.items():
            link.sender, link.live, link.report = SENDERS[number - 1], True, REPORT
            self.hub.session_began(number, link)
            self.hub.blob_taken(number, Blob(PREVIEW, 0, self._preview))
        for frame in itertools.islice(itertools.cycle(self.frames), self.most_frames):
            for number, link in links.items():
                link.traffic.count(LABELS, FRAME_BYTES)
                crowd = _crowded(frame, self.crowd)
                self.hub.frame_published(number, crowd.record, self._dressed(crowd))
            await asyncio.sleep(0.25)

    def _dressed(self, frame: PlayedFrame) -> tuple[ReconstructedPerson, ...]:
        people = [replace(one, body=replace(one.body, texture=self.texture)) for one in frame.people]
        return tuple(replace(one, surface_corners=self._surface_corners(one)) for one in people)

    def _surface_corners(self, person: ReconstructedPerson) -> TextureCorners | None:
        """The same for everybody."""
        if self.texture is not None and self._corners is None:
            self._corners = carried_corners(person.surface, person.body.mesh, self.texture.corners)
        return self._corners


@contextmanager
def running_site(folder: Path) -> Iterator[str]:
    """Serves accounts and uploads in a folder, with fakes for what is slow; yields the address."""
    server = PageServer(folder / "out", folder, pictures=FakePictures()).start()
    server.clips.seconds = 0.2  # long enough to be cancelled
    try:
        yield server.address
    finally:
        server.stop()


class _Pictures(ChildPictures):
    """Whatever a picture shows, it has the people of the last frame."""

    def __init__(self, server: PageServer) -> None:
        self._server = server

    async def prepare(self) -> None:
        """Nothing has to start."""

    async def reconstruct(
        self, picture: bytes, on_stage: Callable[[str], None] = lambda _: None
    ) -> ReconstructedPicture:
        for stage in PICTURE_STAGES:
            on_stage(stage)
        if self._server.picture_error is not None:
            raise self._server.picture_error
        return self._server.reconstructed()


class _Camera(ChildCamera):
    """Takes every picture."""

    def __init__(self, server: PageServer) -> None:
        self._server = server

    async def push(self, jpeg: bytes) -> bool:
        self._server.camera_pictures.append(jpeg)
        return True


class _Cameras(ChildCameras):
    def __init__(self, server: PageServer) -> None:
        self._server = server

    @asynccontextmanager
    async def open(self, visitor: Visitor = (False, "")) -> AsyncIterator[ChildCamera]:
        if self._server.camera_refusal:
            raise Refused(503, self._server.camera_refusal)
        yield _Camera(self._server)


def _copy(output: Path, folder: Path) -> None:
    """Copies an output directory, if there is one, but not the content of its meshes."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in output.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(output)
            target.parent.mkdir(parents=True, exist_ok=True)
            (os.link if path.parent.name == "meshes" else shutil.copy)(path, target)


def _crowded(frame: PlayedFrame, places: Sequence[float]) -> PlayedFrame:
    """The first person of a frame at other places, metres to the right; nobody without places."""
    if tuple(places) == (0.0,):
        return frame
    people, records = [], []
    for identity, metres in enumerate(places):
        person, record = frame.people[0], frame.record.people[0]
        moved = np.array([metres, 0, 0], np.float32)
        surface, body = (
            replace(mesh, vertices=(mesh.vertices + moved).astype(np.float32))
            for mesh in (person.surface, person.body.mesh)
        )
        labels = replace(person.labels, identity=identity)
        people.append(replace(person, labels=labels, surface=surface, body=replace(person.body, mesh=body)))
        records.append(replace(record, identity=identity, joints_3d=record.joints_3d + moved))
    return PlayedFrame(replace(frame.record, people=tuple(records)), tuple(people))


@cache
def _read_frames(output: Path) -> Sequence[PlayedFrame]:
    """All frames of an output directory of GLB files, which does not change; none if there is no directory."""
    path = output / "frames.jsonl"
    if not path.exists():
        return []
    return [_frame(output, json.loads(line)) for line in path.read_text().splitlines()]


def _frame(output: Path, line: dict[str, Any]) -> PlayedFrame:
    records, people = [], []
    for person in line["people"]:
        keypoints, joints = (np.array(person[name], np.float32) for name in ("keypoints_2d", "joints_3d"))
        made = tetrahedron_of(PersonLabels(person["id"], person["score"], {}))
        body = posed(rig_one(person["id"], read_body(output / person["body"]), WORN))
        surface = read_mesh(output / person["surface"])
        people.append(replace(made, surface=surface, body=body, keypoints_2d=keypoints, joints_3d=joints))
        unseen = frozenset(limb for limb, seen in person["seen"].items() if not seen)
        paths = (person["surface"], person["body"])
        records.append(PersonRecord(person["id"], person["score"], keypoints, joints, *paths, unseen_limbs=unseen))
    record = FrameRecord(
        line["seq"],
        line["source"],
        line["captured_at"],
        line["age_ms"],
        line["clock_error_ms"],
        line["bytes"],
        line["rho"],
        line["stages_ms"],
        tuple(records),
        camera=Camera(**{name: line["camera"][name] for name in ("width", "height", "focal_px")}),
    )
    return PlayedFrame(record, tuple(people))
