"""Both ends of the link in one process: over a path in simulated time, or over sockets of the loopback."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import receiver.config
import sender.link.diagnosis
from common.clock import STEADY_CLOCK, Clock
from common.codec.packet import CODEC_VERSION
from common.io.addresses import Address
from common.wire.convert import Hello
from common.wire.frame_messages import SenderReport
from common.wire.traffic import Traffic
from receiver.config import ListenConfig
from receiver.link.refusals import Refusal
from receiver.link.server import LinkServer
from receiver.link.session import FrameHandler
from sender.config import LinkConfig
from sender.link.background_transfer import Pacer
from sender.link.client import LinkClient
from sender.link.connector import StreamOpener
from sender.link.quic_transport import AutoTransport, QuicTransport
from sender.link.session import FrameEncoder, LinkObserver, Observers
from sender.link.transport import Transport
from sender.spool import Spool
from tests.support.link.certificate_authority import Authority
from tests.support.link.counting_codec import MODEL, CountingCodec, label_frame
from tests.support.link.ends import PathServer, PathTransport
from tests.support.link.path import Path, VirtualLoop
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.relays import BreakableRelay
from tests.support.link.scripted_receiver import RecordingObserver

LOOPBACK = "127.0.0.1"
ReceiverSecurity = receiver.config.SecurityConfig
SenderSecurity = sender.link.diagnosis.SecurityConfig


def at_receiver(authority: Authority, name: str = "receiver", **more: Any) -> ReceiverSecurity:
    """With a certificate of this name."""
    return ReceiverSecurity(tls_cert=authority.folder / f"{name}.pem", tls_key=authority.folder / f"{name}.key", **more)


def at_sender(
    authority: Authority, signed_by: Authority | None = None, name: str = "camera", **more: Any
) -> SenderSecurity:
    """Trusts an authority; with a certificate of another one, or of the same, if it is given."""
    if signed_by is not None:
        more |= {"tls_cert": signed_by.folder / f"{name}.pem", "tls_key": signed_by.folder / f"{name}.key"}
    return SenderSecurity(tls_ca=authority.certificate, **more)


class LinkFixture:
    """Starts servers and clients, and stops them all at the end of the test.

    Attributes:
        path: between them, in a `VirtualLoop`; elsewhere they have sockets.
    """

    path: Path

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack, self._loop = stack, asyncio.get_running_loop()
        self.simulated, self.clock = False, STEADY_CLOCK
        if isinstance(self._loop, VirtualLoop):
            self.simulated, self.path, began_s = True, self._loop.path, time.time()
            self.clock = Clock(self._loop.time, lambda: began_s + self._loop.time())

    def transport(self, security: SenderSecurity | None = None) -> Any:
        """Opens streams of gRPC."""
        return PathTransport(self.path, security) if self.simulated else Transport(security)

    async def stream(self, peer: Address, token: str | None = None) -> Any:
        """A stream whose messages the test sends."""
        return self.path.connect(peer, token) if self.simulated else await Transport().reach(peer)

    async def server(
        self,
        pipeline: FrameHandler,
        *,
        port: int = 0,
        quic: bool = False,
        model: bytes = MODEL,
        security: ReceiverSecurity | None = None,
        on_refused: Callable[[Refusal], None] = lambda _: None,
        admit_live: Callable[[], None] = lambda: None,
    ) -> tuple[LinkServer, Address]:
        kind: Any = partial(PathServer, self.path) if self.simulated else LinkServer
        server: LinkServer = kind(
            ListenConfig(listen=Address(LOOPBACK, port), quic=quic, drain_timeout=2.0),
            pipeline,
            model_hash=model,
            codec_version=CODEC_VERSION,
            security=security,
            on_refused=on_refused,
            admit_live=admit_live,
            clock=self.clock,
        )
        address = await server.start()
        self._stack.push_async_callback(server.stop)
        return server, address

    async def relay(self, target: Address) -> tuple[BreakableRelay, Address]:
        """A relay between sockets, and where it listens."""
        relay = BreakableRelay(target)
        address = await relay.start()
        self._stack.push_async_callback(relay.stop)
        return relay, address

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
        security: SenderSecurity | None = None,
        transport: StreamOpener | None = None,
        auto: bool = False,
        durable: bool = False,
        spool: Spool | None = None,
        traffic: Traffic | None = None,
        notified: LinkObserver | None = None,
    ) -> tuple[LinkClient, RecordingObserver]:
        """A sender, of the session of its spool if it has one."""
        observer = RecordingObserver()
        session, secret, resume = secrets.token_bytes(16), secrets.token_bytes(32), False
        if spool is not None:
            session, secret, resume, durable = spool.session_id, spool.session_secret, spool.resumed, True
        client = LinkClient(
            LinkConfig(peer=peer, connect_timeout=connect_timeout, reconnect_timeout=reconnect_timeout),
            Hello(session, "test", codec_version, MODEL, live, resume, durable=durable, session_secret=secret),
            encoder or CountingCodec(),
            observer=observer if notified is None else Observers(observer, notified),
            pacer=pacer,
            report=report,
            spool=spool,
            traffic=traffic,
            rng=random.Random(1),
            transport=transport or (AutoTransport if auto else lambda grpc: grpc)(self.transport(security)),
            clock=self.clock,
        )
        self._stack.push_async_callback(client.close)
        return client, observer

    async def connected(
        self, pipeline: FrameHandler, *, quic: bool = False, **more: Any
    ) -> tuple[LinkServer, LinkClient, RecordingObserver]:
        """A receiver, and a sender that is connected to it over gRPC or QUIC."""
        server, address = await self.server(pipeline, quic=quic)
        if quic:
            more["transport"] = QuicTransport(self.transport())
        client, observer = self.client(address, **more)
        await client.connect()
        return server, client, observer

    def quic_client(self, peer: Address, security: SenderSecurity, **more: Any) -> tuple[LinkClient, RecordingObserver]:
        return self.client(peer, transport=QuicTransport(self.transport(security)), **{"connect_timeout": 3.0, **more})

    async def deliver(self, receives: ReceiverSecurity, sends: SenderSecurity, *, quic: bool = False) -> list[int]:
        """Sends twenty frames of a file; returns the sequences that arrive."""
        pipeline = RecordingPipeline()
        _, address = await self.server(pipeline, security=receives, quic=quic)
        client, _ = (
            self.quic_client(address, sends) if quic else self.client(address, security=sends, connect_timeout=1.0)
        )
        await client.connect()
        await send_all(client, 0, 20)
        await client.drain()
        return pipeline.decoded


async def send_all(client: LinkClient, first: int, last: int) -> None:
    for sequence in range(first, last):
        await client.send(label_frame(sequence))
