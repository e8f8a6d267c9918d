"""The receiver's end of a link, scripted by the test, and a client with everything around it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence

from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame
from common.io.addresses import Address
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ClientMessage,
    FrameMessage,
    Heartbeat,
    Hello,
    ServerMessage,
    Welcome,
    encode_server,
)
from common.wire.frame_messages import SenderReport
from common.wire.stream import StreamBroken
from sender.config import LinkConfig
from sender.congestion.capacity import LinkSample, PacketTrainSample
from sender.link.client import LinkClient
from sender.link.session import Fate, LinkObserver
from tests.support.link.counting_codec import MODEL, SECRET, SESSION, CountingCodec, label_frame, settle
from tests.support.link.path import End, stream_pair

WELCOME = Welcome(True, MODEL, window=2)


class RecordingObserver(LinkObserver):
    def __init__(self) -> None:
        self.fates: list[tuple[int, Fate]] = []
        self.sent_frames: list[int] = []
        self.samples: list[LinkSample] = []
        self.losses: list[str] = []
        self.connections = 0
        self.packet_trains: list[PacketTrainSample] = []

    def connected(self) -> None:
        self.connections += 1

    def disconnected(self, reason: str) -> None:
        self.losses.append(reason)

    def sent(self, frames: Sequence[LabelFrame], encoded: EncodedFrame) -> None:
        self.sent_frames += [frame.sequence for frame in frames]

    def acknowledged(self, frames: Sequence[LabelFrame], sample: LinkSample) -> None:
        self.samples.append(sample)

    def probed(self, measurement: PacketTrainSample) -> None:
        self.packet_trains.append(measurement)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        self.fates.append((frame.sequence, fate))


FULL = StreamBroken("RESOURCE_EXHAUSTED", "full for now: 64 sessions")


class ScriptedReceiver:
    """Answers each stream that the client opens with the next of `welcomes`, or ends it; None refuses the connection.

    Args:
        always: the answer when there is no further one in `welcomes`.
    """

    def __init__(
        self,
        *welcomes: Welcome | StreamBroken | None,
        always: StreamBroken | None = None,
        diagnosis: str | None = None,
    ) -> None:
        self.opened = 0
        self._always = always
        self.hellos: list[Hello] = []
        self.diagnosis = diagnosis
        self.network = asyncio.Event()
        self.network.set()
        self._welcomes = deque(welcomes)
        self._ends: asyncio.Queue[End] = asyncio.Queue()

    async def reach(self, peer: Address) -> End:
        await self.network.wait()
        client, server = stream_pair()
        self.opened += 1
        welcome = self._welcomes.popleft() if self._welcomes else self._always
        if welcome is None:
            server.break_off("UNAVAILABLE", "connection refused")
        elif isinstance(welcome, StreamBroken):
            server.break_off(welcome.code, welcome.reason)
        else:
            await server.write(encode_server(welcome))
            self._ends.put_nowait(server)
        return client

    async def diagnose(self, peer: Address) -> str | None:
        return self.diagnosis

    async def stream(self) -> End:
        """The next accepted stream, after its Hello."""
        end = await self._ends.get()
        hello = await receive(end)
        assert isinstance(hello, Hello)
        self.hellos.append(hello)
        return end


async def receive(end: End) -> ClientMessage:
    """The sender's next message that is not a heartbeat."""
    while True:
        data = await end.read()
        assert data is not None
        message = end.from_client.decode(data)
        if not isinstance(message, Heartbeat):
            return message


async def receive_frame(end: End) -> int:
    message = await receive(end)
    assert isinstance(message, FrameMessage)
    return message.sequence


async def reply(end: End, message: ServerMessage | Acknowledgement) -> None:
    message = Acknowledgements((message,)) if isinstance(message, Acknowledgement) else message
    await end.write(end.from_server.encode(message))
    await settle()


def ack(sequence: int, status: AckStatus = AckStatus.DECODED) -> Acknowledgement:
    return Acknowledgement(sequence, status, 2000, 33_000, 3000, "a reason")


class ClientFixture:
    """A client with its codec, observer and receiver."""

    def __init__(
        self,
        receiver: ScriptedReceiver,
        *,
        live: bool,
        heartbeat_interval_ms: float = 60_000.0,
        connect_timeout: float = 1.0,
        report: Callable[[], SenderReport | None] = lambda: None,
    ) -> None:
        self.receiver = receiver
        self.codec = CountingCodec()
        self.observer = RecordingObserver()
        config = LinkConfig(
            connect_timeout=connect_timeout, reconnect_timeout=1.0, heartbeat_interval_ms=heartbeat_interval_ms
        )
        self.client = LinkClient(
            config,
            Hello(SESSION, "test", 1, MODEL, live, session_secret=SECRET),
            self.codec,
            observer=self.observer,
            report=report,
            rng=random.Random(1),
            transport=receiver,
        )

    async def send(self, *sequences: int) -> None:
        """Sends frames, each when the one before has left or waits."""
        for sequence in sequences:
            await self.client.send(label_frame(sequence))
            await settle()


class Connected:
    """Clients that are connected to a scripted receiver each."""

    def __init__(self) -> None:
        self._links: list[ClientFixture] = []

    async def __call__(
        self,
        *welcomes: Welcome | StreamBroken | None,
        live: bool,
        heartbeat_interval_ms: float = 60_000.0,
        report: Callable[[], SenderReport | None] = lambda: None,
    ) -> tuple[ClientFixture, End]:
        """A client with its codec, observer and receiver, and the receiver's end of its first stream."""
        receiver = ScriptedReceiver(*welcomes)
        link = ClientFixture(receiver, live=live, heartbeat_interval_ms=heartbeat_interval_ms, report=report)
        self._links.append(link)
        await link.client.connect()
        return link, await receiver.stream()

    async def close(self) -> None:
        for link in self._links:
            await link.client.close()
