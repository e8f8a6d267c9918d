"""Both ends of the link in one process and in simulated time: all of them but networks and disks.

Streams are those of gRPC, or of QUIC with datagrams that may be lost or overtaken.
"""

import asyncio
import random
from collections import Counter
from typing import Any

from common.clock import Clock
from common.codec.packet import CODEC_VERSION
from common.errors import MalformedPacket
from common.frames import Camera, LabelFrame
from common.io.addresses import Address
from common.wire.convert import Hello
from receiver.config import ListenConfig
from receiver.link.session import Arrival, FrameOutcome, Session
from sender.config import LinkConfig
from sender.link.client import LinkClient
from sender.link.quic_transport import AutoTransport
from tests.support.link.counting_codec import MODEL, SECRET, SESSION, CountingCodec
from tests.support.link.ends import PathServer, PathTransport
from tests.support.link.path import LOST as LOST
from tests.support.link.path import End, VirtualLoop
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_receiver import RecordingObserver

PEER = Address("127.0.0.1", 50051)
_START_S = 1_800_000_000.0
FPS = 30.0


class _Transport(PathTransport):
    """Also what `AutoTransport` asks of QUIC, whose packets are messages here.

    Attributes:
        seen: how many streams of each transport were opened.
    """

    seen: Counter[str]

    async def reach(self, peer: Address) -> End:
        """Opens a stream of gRPC."""
        end = await super().reach(peer)
        self.seen["grpc"] += 1
        return end

    async def connect(self, peer: Address, at: Address) -> End:
        """Opens a stream of QUIC."""
        path = self._path
        await path.passes(lambda: path.up and path.udp)
        self.seen["quic"] += 1
        return path.connect(peer, lossy=True)


class Disk(RecordingPipeline):
    """A receiver's frames, which a durable session finds again at the next receiver.

    Attributes:
        damaged: the next message cannot be decoded.
        rejected: frames of those that could not, or whose payload is another one's.
    """

    bundles, damaged = 0, False

    def __init__(self) -> None:
        super().__init__()
        self.rejected: set[int] = set()

    async def on_session(self, session: Session) -> int:
        await super().on_session(session)
        return max(self.done, default=-1) + 1 if session.durable else 0

    async def on_frame(self, session: Session, frame: Any, arrival: Arrival) -> FrameOutcome:
        if self.damaged:
            self.damaged = False
            self.rejected.update(frame.sequences)
            raise MalformedPacket("damaged")
        try:
            outcome = await super().on_frame(session, frame, arrival)
        except MalformedPacket:
            # A datagram that is very late may be taken for another one, whose number has the same last bits.
            self.rejected.update(frame.sequences)
            raise
        self.bundles += len(frame.sequences) > 1
        late = session.live and arrival.superseded.is_set()
        return FrameOutcome.LATE if late else outcome


class VirtualLink:
    """A sender and its receiver, of which another one can take the place.

    Attributes:
        seen: how many streams of each transport were opened, and messages of several frames were handled.
    """

    def __init__(self, *, live: bool, durable: bool) -> None:
        self.loop = VirtualLoop()
        self.path = self.loop.path
        self.clock = Clock(self.loop.time, lambda: _START_S + self.loop.now_s)
        self.disk, self.observer = Disk(), RecordingObserver()
        self.seen: Counter[str] = Counter()
        transport = _Transport(self.path)
        transport.seen = self.seen
        auto = AutoTransport(transport)  # type: ignore[arg-type]
        auto._quic = transport  # type: ignore[assignment]
        self._start()
        hello = Hello(SESSION, "test", CODEC_VERSION, MODEL, live, durable=durable, session_secret=SECRET)
        self.client = LinkClient(
            LinkConfig(peer=PEER, reconnect_timeout=1e6),
            hello,
            CountingCodec(),
            observer=self.observer,
            rng=random.Random(1),
            transport=auto,
            clock=self.clock,
            gathers=not live,
        )
        self.wait(self.client.connect())

    def _start(self) -> None:
        listen = ListenConfig(listen=PEER, quic=False, drain_timeout=2.0)
        more: Any = {"model_hash": MODEL, "codec_version": CODEC_VERSION, "clock": self.clock}
        self.server = PathServer(self.path, listen, self.disk, **more)
        self.wait(self.server.start())

    def wait(self, work: Any, seconds: float = 600.0) -> Any:
        """Runs until some work is done, for so much simulated time at most."""
        return self.loop.run_until_complete(asyncio.wait_for(work, seconds))

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def offer(self, sequence: int) -> None:
        """Gives the sender a frame, for which it has room."""
        frame = LabelFrame(sequence, "fake", _START_S + sequence / FPS, Camera(64, 64, 64.0), ())
        self.wait(self.client.send(frame))

    @property
    def has_room(self) -> bool:
        """Whether the sender takes a frame at once."""
        return bool(self.client._queue.has_room)

    def replace_receiver(self, *, in_good_order: bool) -> None:
        """Another receiver takes the place of the present one, with the same disk."""
        if in_good_order:
            self.disk.gate.set()
            self.wait(self.server.stop())
        else:
            self.path.cut()
            killing = self.loop.create_task(self.server.kill())
            self.advance(0.0)
            self.disk.gate.set()
            self.wait(killing)
        self._start()

    def close(self) -> None:
        """Ends everything."""
        self.seen["bundles"] = self.disk.bundles
        self.wait(self.client.close())
        self.path.cut()
        self.disk.gate.set()
        self.advance(1.0)
        self.wait(self.server.kill())
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.advance(0.0)
        self.loop.close()
