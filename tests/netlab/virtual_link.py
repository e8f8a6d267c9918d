"""Both ends of the link in one process and in simulated time: all of them but networks and disks.

Streams are those of gRPC, or of QUIC with datagrams that may be lost or overtaken.
"""

import asyncio
import math
import random
import selectors
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from common.clock import Clock
from common.codec.packet import CODEC_VERSION
from common.errors import MalformedPacket
from common.frames import Camera, LabelFrame
from common.io.addresses import Address, Addresses
from common.wire.convert import Hello
from common.wire.stream import StreamBroken
from receiver.link.config import ListenConfig
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.server import LinkServer
from receiver.link.session import Session
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.transport.auto_transport import AutoTransport
from tests.support.link.fake_link import MODEL, SECRET, SESSION, CountingCodec, FakeEnd
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_receiver import RecordingObserver

LOST = math.inf
PEER = Address("192.0.2.1", 50051)
_START_S = 1_800_000_000.0
FPS = 30.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Instead of waiting for the next timer, it is that time."""

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self.now_s = 0.0

    def time(self) -> float:
        """See `asyncio.loop`."""
        return self.now_s


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """See `selectors.BaseSelector.select`."""
        assert timeout is not None, "everything waits for something else"
        self._loop.now_s += timeout
        return super().select(0)


class Path:
    """The network between two ends.

    Attributes:
        delay_s: of each message.
        up: whether anything arrives; else what must not be lost waits.
        udp: whether anything arrives that QUIC sends.
        datagrams: what becomes of the next ones: `LOST`, or how many seconds later they arrive than others.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.delay_s = 0.01
        self.up = self.udp = True
        self.datagrams: deque[float] = deque()
        self._ends: list[PathEnd] = []

    def new(self, *, lossy: bool) -> tuple["PathEnd", "PathEnd"]:
        """The two ends of a stream."""
        ends = PathEnd(self, lossy=lossy), PathEnd(self, lossy=lossy)
        ends[0].other, ends[1].other = ends[1], ends[0]
        self._ends = [end for end in self._ends if end._broken is None] + [*ends]
        return ends

    def carry(self, end: "PathEnd", item: Any, *, droppable: bool) -> None:
        """Takes what an end has written to the other one, sooner or later, or never."""
        works = self.up and (self.udp or not end.lossy)
        if droppable and end.lossy:
            late_s = self.datagrams.popleft() if self.datagrams else 0.0
            if works and late_s < LOST:
                self._loop.call_later(self.delay_s + late_s, end.deliver, item)
            return
        end.queued.append(item)
        if works:
            self._flush(end)

    def _flush(self, end: "PathEnd") -> None:
        end.busy_until_s = max(end.busy_until_s, self._loop.now_s + self.delay_s)
        for item in end.queued:
            # Timers of one time would not keep their order.
            end.busy_until_s += 1e-6
            self._loop.call_at(end.busy_until_s, end.deliver, item)
        end.queued.clear()

    def restore(self) -> None:
        """Lets everything through that has waited."""
        self.up = self.udp = True
        for end in self._ends:
            self._flush(end)

    def cut(self) -> None:
        """Breaks all streams."""
        for end in self._ends:
            if end._broken is None:
                end.break_off()

    async def passes(self, condition: Callable[[], bool]) -> None:
        """Waits until a connection can be made."""
        while not condition():
            await asyncio.sleep(0.05)
        await asyncio.sleep(2 * self.delay_s)


class PathEnd(FakeEnd):
    """One end of a stream over a path."""

    def __init__(self, path: Path, *, lossy: bool) -> None:
        super().__init__()
        self._path, self.lossy = path, lossy
        self.queued: list[Any] = []
        self.busy_until_s = 0.0

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        if self._broken is not None:
            raise self._broken
        self._path.carry(self, data, droppable=droppable)

    async def finish(self) -> None:
        self._path.carry(self, None, droppable=False)

    def deliver(self, item: Any) -> None:
        """Lets the other end read what was written here."""
        if self.other._broken is None:
            self.other._inbox.put_nowait(item)
            if isinstance(item, StreamBroken):
                self.other._broken = item


class _Context:
    """What a transport knows of the other end of a stream."""

    def __init__(self, end: PathEnd) -> None:
        self._end = end

    def peer(self) -> str:
        return "ipv4:192.0.2.7:40000"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    async def abort(self, code: Any, reason: str) -> None:
        self._end._path.carry(self._end, StreamBroken(code.name, reason), droppable=False)


class _Grpc:
    """What `AutoTransport` asks of gRPC, and of QUIC at an address."""

    def __init__(self, link: "VirtualLink") -> None:
        self._link = link
        self.files = self.names = self

    def credentials(self, peer: Address) -> object:
        return self

    async def reachable(self, peer: Address) -> Address:
        await self._link.path.passes(lambda: self._link.path.up)
        return peer

    async def reach(self, peer: Address) -> PathEnd:
        await self.reachable(peer)
        return self._link.open(lossy=False)

    async def connect(self, peer: Address, at: Address) -> PathEnd:
        await self._link.path.passes(lambda: self._link.path.up and self._link.path.udp)
        return self._link.open(lossy=True)

    async def diagnose(self, peer: Address) -> None:
        return None


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
        self.path = Path(self.loop)
        self.clock = Clock(self.loop.time, lambda: _START_S + self.loop.now_s)
        self.disk, self.observer = Disk(), RecordingObserver()
        self.seen: Counter[str] = Counter()
        self._served: set[asyncio.Task[None]] = set()
        self.server = self._new_server()
        transport = AutoTransport(_Grpc(self))  # type: ignore[arg-type]
        transport._quic = _Grpc(self)  # type: ignore[assignment]
        hello = Hello(SESSION, "test", CODEC_VERSION, MODEL, live, durable=durable, session_secret=SECRET)
        self.client = LinkClient(
            LinkConfig(peer=Addresses((PEER,)), reconnect_timeout=1e6),
            hello,
            CountingCodec(),
            observer=self.observer,
            rng=random.Random(1),
            transport=transport,
            clock=self.clock,
            gathers=not live,
        )
        self.wait(self.client.connect())

    def _new_server(self) -> LinkServer:
        listen = ListenConfig(listen=Address("127.0.0.1", 0), drain_timeout=2.0)
        return LinkServer(listen, self.disk, model_hash=MODEL, codec_version=CODEC_VERSION, clock=self.clock)

    def open(self, *, lossy: bool) -> PathEnd:
        """A stream to the receiver."""
        client, server = self.path.new(lossy=lossy)
        self.seen["quic" if lossy else "grpc"] += 1
        task = self.loop.create_task(self._serve(server))
        self._served.add(task)
        task.add_done_callback(self._served.discard)
        return client

    async def _serve(self, end: PathEnd) -> None:
        await self.server._service.serve(end, _Context(end))
        if end._broken is None:
            await end.finish()

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
        return self.client._delivery.window.has_room

    def replace_receiver(self, *, in_good_order: bool) -> None:
        """Another receiver takes the place of the present one, with the same disk."""
        if in_good_order:
            self.wait(self._stop())
        else:
            self.path.cut()
            for task in self._served:
                task.cancel()
            self.advance(0.0)
            self.disk.gate.set()
            self.wait(self.server._lifecycle.close())
        self.server = self._new_server()

    async def _stop(self) -> None:
        self.disk.gate.set()
        await self.server._service.stop(2.0)
        await self.server._lifecycle.close()

    def close(self) -> None:
        """Ends everything."""
        self.seen["bundles"] = self.disk.bundles
        self.wait(self.client.close())
        self.path.cut()
        self.disk.gate.set()
        self.advance(1.0)
        self.wait(self.server._lifecycle.close())
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.advance(0.0)
        self.loop.close()
