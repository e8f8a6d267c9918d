"""Both ends of the link in one process, with a pipeline that records what it receives."""

import asyncio
import random
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack

import receiver.link.config
import sender.link.transport.security
from common.blobs import Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.packet import CODEC_VERSION
from common.io.addresses import Address, Addresses
from common.wire.convert import FrameMessage, Hello
from common.wire.report import SenderReport
from common.wire.traffic import Traffic
from receiver.decode.session_decoder import FrameDecoder
from receiver.link.config import ListenConfig
from receiver.link.frame_handler import Arrival, FrameHandler, FrameOutcome
from receiver.link.refusals import Refusal
from receiver.link.server import LinkServer
from receiver.link.session import Session
from sender.link.background_transfer import Pacer
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import LinkObserver, Observers
from sender.link.session import FrameEncoder
from sender.link.transport.handshake import StreamOpener
from sender.link.transport.transport import Transport
from tests.support.fake_link import MODEL, CountingCodec, Decoders, label_frame
from tests.support.scripted_receiver import RecordingObserver
from tests.support.tcp_relay import TcpRelay

LOOPBACK = "127.0.0.1"


class RecordingPipeline:
    """Decodes every frame, and holds it while `gate` is closed."""

    def __init__(self, new_decoder: Callable[[], FrameDecoder] | None = None) -> None:
        self._decoders = Decoders(new_decoder)
        self.gate = asyncio.Event()
        self.gate.set()
        self.decoded: list[int] = []
        self.keys: list[int] = []
        self.blobs: list[Blob] = []
        self.opened = 0
        self.ended: asyncio.Queue[Session] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def on_session(self, session: Session) -> int:
        self.opened += 1
        self._decoders.begin(session)
        return 0

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        decoded = self._decoders.decode(session, frame)
        self.decoded.append(frame.sequence)
        if decoded.reference is None:
            self.keys.append(frame.sequence)
        self._changed.set()
        await self.gate.wait()
        return FrameOutcome.PUBLISHED

    def on_blob(self, session: Session, blob: Blob) -> None:
        self.blobs.append(blob)

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None: ...

    def on_stream_end(self, session: Session) -> None:
        self._decoders.stream_ended(session)

    async def on_session_end(self, session: Session) -> None:
        self.ended.put_nowait(session)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_decoded(self, sequence: int) -> None:
        await self.until(lambda: bool(self.decoded) and self.decoded[-1] >= sequence)


class LinkFixture:
    """Starts servers and clients, and stops them all at the end of the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def server(
        self,
        pipeline: FrameHandler,
        *,
        port: int = 0,
        quic: bool = False,
        model: bytes = MODEL,
        security: receiver.link.config.SecurityConfig | None = None,
        on_refused: Callable[[Refusal], None] = lambda _: None,
        admit_live: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> tuple[LinkServer, Address]:
        server = LinkServer(
            ListenConfig(listen=Address(LOOPBACK, port), quic=quic, drain_timeout=2.0),
            pipeline,
            model_hash=model,
            codec_version=CODEC_VERSION,
            security=security,
            on_refused=on_refused,
            admit_live=admit_live,
            clock=clock,
        )
        address = await server.start()
        self._stack.push_async_callback(server.stop)
        return server, address

    async def relay(self, target: Address) -> TcpRelay:
        relay = TcpRelay(target)
        await relay.start()
        self._stack.push_async_callback(relay.stop)
        return relay

    def client(
        self,
        peer: Address,
        *,
        live: bool = False,
        connect_timeout: float = 5.0,
        reconnect_timeout: float = 120.0,
        codec_version: int = CODEC_VERSION,
        encoder: FrameEncoder | None = None,
        pacer: Pacer | None = None,
        report: Callable[[], SenderReport | None] = lambda: None,
        security: sender.link.transport.security.SecurityConfig | None = None,
        transport: StreamOpener | None = None,
        durable: bool = False,
        traffic: Traffic | None = None,
        notified: LinkObserver | None = None,
    ) -> tuple[LinkClient, RecordingObserver]:
        observer = RecordingObserver()
        secret = secrets.token_bytes(32)
        client = LinkClient(
            LinkConfig(peer=Addresses((peer,)), connect_timeout=connect_timeout, reconnect_timeout=reconnect_timeout),
            Hello(secrets.token_bytes(16), "test", codec_version, MODEL, live, durable=durable, session_secret=secret),
            encoder or CountingCodec(),
            observer=observer if notified is None else Observers(observer, notified),
            pacer=pacer,
            report=report,
            traffic=traffic,
            rng=random.Random(1),
            transport=transport or Transport(security),
        )
        self._stack.push_async_callback(client.close)
        return client, observer


async def send_all(client: LinkClient, first: int, last: int) -> None:
    for sequence in range(first, last):
        await client.send(label_frame(sequence))
