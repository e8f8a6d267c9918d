"""A receiver's pipeline without networks, and packets for it."""

import json
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from common.clock import Clock
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import GROUPS
from common.weights.manifest import model_hash
from common.wire.convert import FrameMessage
from receiver.config import ListenConfig, Meshes, PublishConfig
from receiver.link.refusals import SessionOwner
from receiver.link.server import LinkServer
from receiver.link.session import Arrival, FrameHandler, FrameOutcome, Session
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_directory import SessionDirectory
from tests.support.receiver.fake_reconstructor import FakeEngine

MODEL = bytes(8)


def live_session(*, live: bool = True, replayed: bool = False, number: int = 0) -> Session:
    """A session of the account `studio`."""
    return Session(
        bytes([number] * 16),
        "camera",
        live,
        owner=SessionOwner.from_secret("studio", b""),
        account="studio",
        replayed=replayed,
    )


def packets(
    frames: int,
    source: str = "clip.mp4",
    scores: tuple[float, ...] = (0.9,),
    interval_s: float = 0.0,
    empty: Collection[int] = (),
) -> Iterator[FrameMessage]:
    """Frames predicted from each other, as if each had been acknowledged before the next one left; of persons 3, 4…

    Args:
        empty: the frames in which nobody is.
    """
    codec = FrameCodec(MODEL)
    for sequence in range(frames):
        labels = {group.name: np.full(group.size, 0.1 * sequence, np.float32) for group in GROUPS}
        people = tuple(
            PersonLabels(3 + number, score, labels) for number, score in enumerate(() if sequence in empty else scores)
        )
        encoded = codec.encode(
            LabelFrame(sequence, source, 1000.0 + interval_s * sequence, Camera(640, 480, 768.0), people), {}
        )
        yield FrameMessage(sequence, encoded.payload)
        codec.acknowledge(sequence)


class RunningReceiver:
    """A pipeline with a clock that the test sets; an asynchronous context manager.

    Args:
        mesh_every, meshes: as in `PublishConfig`.
        more: arguments of the pipeline, whose networks are those of `packets` unless `new_decoder` is given.
    """

    def __init__(self, out: Path, *, mesh_every: int = 1, meshes: Meshes = "all", **more: Any) -> None:
        self.out, self.config = out, PublishConfig(out=out, mesh_every=mesh_every, meshes=meshes)
        self.now_s, self.wall_s = 100.0, 1000.5
        self.engine, self.metrics = FakeEngine(), ReceiverMetrics()
        self.clock = Clock(monotonic=lambda: self.now_s, wall=lambda: self.wall_s)
        self._more = {"new_decoder": lambda: FrameCodec(MODEL), **more}

    async def __aenter__(self) -> Self:
        self.directory = SessionDirectory(self.config)
        self.pipeline = ReceiverPipeline(self.engine, self.directory, self.metrics, self.clock, **self._more)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.gate.set()
        await self.pipeline.close()
        self.directory.close()
        assert self.engine.closed

    async def begin(self, session: Session | None = None) -> Session:
        """Begins a session; by default that of a file."""
        session = session or live_session(live=False)
        session.handled_before(await self.pipeline.on_session(session))
        return session

    async def handle(self, session: Session, *frames: FrameMessage) -> list[FrameOutcome]:
        """Handles frames that have arrived just now."""
        return [await self.pipeline.on_frame(session, frame, Arrival(self.now_s)) for frame in frames]

    def lines(self) -> list[dict[str, Any]]:
        """The records of frames."""
        return [json.loads(line) for line in (self.out / "frames.jsonl").read_text().splitlines()]

    def count(self, fate: str) -> float | None:
        """How many frames had a fate."""
        return self.metrics.registry.get_sample_value("bodywire_receiver_frames_total", {"fate": fate})


@asynccontextmanager
async def own_link(handler: FrameHandler) -> AsyncIterator[LinkServer]:
    """A link for processes of the receiver alone, with the networks of this installation."""
    networks = model_hash()
    server = LinkServer(
        ListenConfig(listen=Address("127.0.0.1", 0), drain_timeout=2.0),
        handler,
        model_hash=networks,
        codec_version=CODEC_VERSION,
        public=False,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
