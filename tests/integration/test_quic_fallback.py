"""`--transport auto`: QUIC where it answers, gRPC elsewhere, and the session goes on when UDP is blocked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.errors import PeerError
from common.wire.quic import QuicStream
from sender.link.client import LinkClient
from sender.link.transport.auto_transport import AutoTransport
from sender.link.transport.grpc_stream import GrpcClientStream
from sender.link.transport.transport import Transport
from tests.support.link.certificate_authority import Authority
from tests.support.link.fake_link import label_frame
from tests.support.link.link_fixture import LinkFixture, at_receiver, at_sender, send_all
from tests.support.link.lossy_relay import LossyRelay
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_receiver import RecordingObserver
from tests.support.link.tcp_relay import TcpRelay


class Way:
    """A receiver behind one port that relays both protocols."""

    def __init__(self, link: LinkFixture, ours: Authority) -> None:
        self._link, self._ours = link, ours
        self.pipeline = RecordingPipeline()

    async def start(self, *, quic: bool = True) -> None:
        _, address = await self._link.server(self.pipeline, security=at_receiver(self._ours), quic=quic)
        self.tcp = TcpRelay(address)
        await self.tcp.start()
        self.udp = LossyRelay(address)
        await self.udp.start(self.tcp.address.port)

    async def stop(self) -> None:
        await self.udp.stop()
        await self.tcp.stop()

    def block_udp(self) -> None:
        """Lets no datagram pass any more."""
        self.udp.loses = lambda number, forward: True

    async def connect(self, **more: Any) -> tuple[LinkClient, RecordingObserver]:
        """A connected sender."""
        client, observer = self._link.client(
            self.tcp.address, transport=AutoTransport(Transport(at_sender(self._ours))), connect_timeout=5.0, **more
        )
        await client.connect()
        return client, observer


@pytest.fixture
async def path(link: LinkFixture, ours: Authority) -> AsyncIterator[Way]:
    made = Way(link, ours)
    yield made
    await made.stop()


@pytest.mark.parametrize(("quic", "blocked"), [(True, False), (False, False), (True, True)])
async def test_every_frame_arrives_over_what_answers(path: Way, quic: bool, blocked: bool) -> None:
    await path.start(quic=quic)
    if blocked:
        path.block_udp()
    client, observer = await path.connect()
    assert isinstance(client._stream, QuicStream if quic and not blocked else GrpcClientStream)
    await send_all(client, 0, 20)
    await client.drain()
    assert (path.pipeline.decoded, observer.connections) == (list(range(20)), 1)


@pytest.mark.parametrize("durable", [True, False])
async def test_session_goes_on_over_grpc_when_udp_is_blocked(path: Way, durable: bool) -> None:
    await path.start()
    client, observer = await path.connect(live=not durable, durable=durable)
    for sequence in range(40):
        if sequence == 20:
            path.block_udp()
        await client.send(label_frame(sequence))
        if durable or sequence < 20:
            await path.pipeline.until_decoded(sequence)
        else:
            await asyncio.sleep(0.1)
    await client.drain()
    assert observer.connections == 2
    assert path.pipeline.decoded == sorted(set(path.pipeline.decoded))
    assert path.pipeline.decoded[-1] == 39
    if durable:
        assert path.pipeline.decoded == list(range(40))


async def test_idle_session_does_not_connect_again_when_a_heartbeat_is_lost(path: Way) -> None:
    await path.start()
    client, observer = await path.connect(live=True)
    await send_all(client, 0, 3)
    await path.pipeline.until_decoded(2)
    for _ in range(3):
        lost = _loses_one(path.udp)
        async with asyncio.timeout(10):
            while not lost:
                await asyncio.sleep(0.02)
        for _ in range(40):
            await asyncio.sleep(0.03)
            assert client._connector.standby._opening is None
    assert observer.connections == 1


def _loses_one(relay: LossyRelay) -> list[int]:
    """Loses the next packet to the receiver; the number of it is in the list then."""
    lost: list[int] = []

    def loses(number: int, forward: bool) -> bool:
        if forward and not lost:
            lost.append(number)
            return True
        return False

    relay.loses = loses
    return lost


async def test_receiver_that_is_not_trusted_is_diagnosed_as_over_grpc(
    link: LinkFixture, ours: Authority, others: Authority
) -> None:
    _, address = await link.server(RecordingPipeline(), security=at_receiver(ours), quic=True)
    transport = AutoTransport(Transport(at_sender(others)))
    client, _ = link.client(address, transport=transport, connect_timeout=5.0)
    with pytest.raises(PeerError, match=r"is not valid: .*; give the authority that signed it as --tls-ca"):
        await client.connect()


async def test_unencrypted_receiver_is_reached_over_grpc(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline)
    client, _ = link.client(address, transport=AutoTransport(Transport()))
    await client.connect()
    await send_all(client, 0, 3)
    await client.drain()
    assert pipeline.decoded == [0, 1, 2]
