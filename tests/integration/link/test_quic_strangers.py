"""QUIC clients that say nothing, too much, or the wrong thing: they hold little, for a short time."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from common.errors import PeerError
from common.wire.certificates import CertificateFiles
from common.wire.quic import Item
from common.wire.quic_connection import LinkConnection, configuration
from receiver.link.quic_server import _NoRoom, _Socket
from receiver.link.server import LinkServer
from tests.netlab.hostile.hostile_quic import HALF_OPEN, hostile_quic, stranger
from tests.support.link.certificate_authority import Authority
from tests.support.link.counting_codec import label_frame, until
from tests.support.link.link_fixture import LinkFixture, at_receiver, at_sender, send_all
from tests.support.link.recording_pipeline import RecordingPipeline


class SentPackets:
    """The transport of a UDP port."""

    def __init__(self) -> None:
        self.packets = list[bytes]()

    def sendto(self, data: bytes, addr: object) -> None:
        """Keeps a packet."""
        self.packets.append(data)

    def close(self) -> None:
        """Nothing is open."""


class Besieged:
    """A receiver, and an honest sender of it."""

    def __init__(self, link: LinkFixture, ours: Authority, *, sessions: int = 64) -> None:
        self._link, self._ours = link, ours
        self._security = replace(at_receiver(ours), max_sessions=sessions)
        self.pipeline = RecordingPipeline()

    async def start(self) -> None:
        self.server: LinkServer
        self.server, self.address = await self._link.server(self.pipeline, security=self._security, quic=True)

    @asynccontextmanager
    async def half_open(self, count: int) -> AsyncIterator[None]:
        """So many clients that have answered the validation of their address."""
        async with AsyncExitStack() as stack:
            for _ in range(count):
                await stack.enter_async_context(hostile_quic(self.address, self._ours.certificate, HALF_OPEN))
            yield

    async def serve_honest(self, timeout_s: float = 20.0) -> None:
        """Sends some frames. Raises PeerError if the receiver does not answer."""
        client, _ = self._link.quic_client(self.address, at_sender(self._ours), connect_timeout=timeout_s)
        await client.connect()
        await send_all(client, 0, 3)
        await client.drain()
        assert self.pipeline.decoded[-3:] == [0, 1, 2]


@pytest.fixture
async def besieged(link: LinkFixture, ours: Authority) -> Besieged:
    made = Besieged(link, ours)
    await made.start()
    return made


async def test_half_open_connections_are_over_when_their_time_is(
    link: LinkFixture, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.link.quic_server._HANDSHAKE_TIMEOUT_S", 0.5)
    monkeypatch.setattr("receiver.config._OTHER_CONNECTIONS", 2)
    besieged = Besieged(link, ours, sessions=1)
    await besieged.start()
    # What has ended must not wait for the garbage collection, which may come after minutes.
    gc.disable()
    try:
        async with besieged.half_open(8):
            await until(lambda: bool(besieged.server._quic._hosts))
            await until(lambda: not besieged.server._quic._hosts)
            await besieged.serve_honest()
    finally:
        gc.enable()


async def test_an_address_takes_half_of_the_connections(
    link: LinkFixture, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.config._OTHER_CONNECTIONS", 2)
    besieged = Besieged(link, ours, sessions=1)
    await besieged.start()
    async with besieged.half_open(8):
        await until(lambda: len(besieged.server._quic._hosts) == 2)
        with pytest.raises(PeerError):
            await besieged.serve_honest(1.0)


def udp_port(
    ours: Authority, admit: Callable[[str], None] = lambda host: None, begun: Callable[[str], None] = lambda host: None
) -> tuple[_Socket, SentPackets]:
    """A receiver's port, and what it sends."""
    files = CertificateFiles(ours.folder / "receiver.pem", ours.folder / "receiver.key", None)
    port, sent = _Socket(files, admit, lambda connection, host: begun(host)), SentPackets()
    port.connection_made(sent)
    return port, sent


async def test_a_receiver_that_stops_answers_nobody_new(ours: Authority) -> None:
    """Its token would be of no use at the receiver that is started then."""
    port, sent = udp_port(ours)
    stranger = LinkConnection(configuration=configuration(is_sender=True))
    stranger.connect(("127.0.0.1", 1), now=0.0)
    initial = stranger.datagrams_to_send(now=0.0)[0][0]
    for port.takes_new, answers in ((False, 0), (True, 1)):
        port.datagram_received(initial, ("127.0.0.2", 4000))
        assert len(sent.packets) == answers


async def test_a_token_that_is_used_again_makes_nothing(ours: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[LinkConnection]()

    def connection(**options: Any) -> LinkConnection:
        made.append(LinkConnection(**options))
        return made[-1]

    def admit(host: str) -> None:
        if not room.is_set():
            raise _NoRoom

    monkeypatch.setattr("receiver.link.quic_server.LinkConnection", connection)
    monkeypatch.setattr("receiver.link.quic_server._MOST_UNPROVEN", 0)
    room, place = asyncio.Event(), ("127.0.0.2", 4000)
    port, sent = udp_port(ours, admit)
    stranger = LinkConnection(configuration=configuration(is_sender=True))
    stranger.connect(place, now=0.0)
    port.datagram_received(stranger.datagrams_to_send(now=0.0)[0][0], place)
    (retry,) = sent.packets
    stranger.receive_datagram(retry, place, now=0.0)
    initial = stranger.datagrams_to_send(now=0.0)[0][0]
    for connections in (0, 1):
        for _ in range(3):
            port.datagram_received(initial, place)
        assert len(made) == connections
        room.set()
    made[0]._close_begin(is_initiator=False, now=0.0)
    port.close()
    await until(lambda: not port._connections)
    port.datagram_received(initial, place)
    assert len(made) == 1


async def test_forged_addresses_begin_few_connections(ours: Authority) -> None:
    begun = list[str]()
    port, sent = udp_port(ours, begun=begun.append)
    received_bytes = 0
    for number in range(100):
        forger = LinkConnection(configuration=configuration(is_sender=True))
        forger.connect(("127.0.0.1", 1), now=0.0)
        (initial, _), *_ = forger.datagrams_to_send(now=0.0)
        # The keys of a first packet are known to everybody: it may end at once what it has begun.
        forger.close()
        for packet in (initial, forger.datagrams_to_send(now=0.0)[0][0]):
            port.datagram_received(packet, (f"10.0.0.{number}", 4000))
            received_bytes += len(packet)
    assert len(begun) == 16
    assert sum(map(len, sent.packets)) < received_bytes
    port.close()


async def test_an_honest_sender_connects_beside_forged_addresses(besieged: Besieged) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(20):
            forger = LinkConnection(configuration=configuration(is_sender=True))
            forger.connect((besieged.address.host, besieged.address.port), now=0.0)
            other = await stack.enter_async_context(stranger(besieged.address))
            other.send(forger.datagrams_to_send(now=0.0)[0][0])
        await until(lambda: len(besieged.server._quic._hosts) == 16)
        await besieged.serve_honest()


async def test_of_too_many_handshakes_the_oldest_end(besieged: Besieged, monkeypatch: pytest.MonkeyPatch) -> None:
    besieged.server._quic._pending._limit = 2
    async with besieged.half_open(8):
        await besieged.serve_honest()


@pytest.mark.parametrize(
    "flood",
    [bytes([Item.TOKEN]) * 1000, bytes([Item.MESSAGE]) * 1000, b"\x06t" * 2],
    ids=["tokens", "empty messages", "second token"],
)
async def test_items_before_hello_end_the_connection(besieged: Besieged, ours: Authority, flood: bytes) -> None:
    async with hostile_quic(besieged.address, ours.certificate) as client:
        client.put(flood)
        assert await client.end()
    await besieged.serve_honest()


async def test_who_stops_the_stream_ends_the_connection(besieged: Besieged, ours: Authority) -> None:
    async with hostile_quic(besieged.address, ours.certificate) as client:
        client.put(b"\0")
        client._quic._streams[0].receiver.stop(7)
        client.transmit()
        assert await client.end() == "a connection has one stream, which is not reset"


def captured(link: LinkFixture) -> list[bytes]:
    """The packets of the first sender."""
    packets = link.path.packets
    return list(dict.fromkeys(packet.data for packet in packets if packet.origin == packets[0].origin))


async def test_captured_packets_that_are_sent_again_do_nothing(
    link: LinkFixture, ours: Authority, besieged: Besieged
) -> None:
    client, observer = link.quic_client(besieged.address, at_sender(ours), live=True)
    await client.connect()
    port = link.path.ports[link.path.packets[0].origin]
    async with stranger(besieged.address) as other:
        for sequence in range(10):
            await client.send(label_frame(sequence))
            await besieged.pipeline.until_decoded(sequence)
            for packet in captured(link):
                port.sendto(packet)
                other.send(packet)
        await client.drain()
        assert (besieged.pipeline.decoded, observer.connections) == (list(range(10)), 1)
        await until(lambda: not besieged.server._quic._hosts)
        answered = other.received_bytes
        for packet in captured(link):
            port.sendto(packet)
            other.send(packet)
        await asyncio.sleep(0.2)
    assert not besieged.server._quic._hosts and not besieged.server.sessions
    # Only the first packet, without a token, is answered: by a shorter one.
    assert answered < 11 * 1200 and other.received_bytes - answered < 1200


async def test_answers_to_addresses_that_are_not_validated_are_short(
    link: LinkFixture, ours: Authority, besieged: Besieged
) -> None:
    client, observer = link.quic_client(besieged.address, at_sender(ours), live=True)
    await client.connect()
    for sequence in range(20):
        await client.send(label_frame(sequence))
        await besieged.pipeline.until_decoded(sequence)
    async with stranger(besieged.address) as other:
        first = captured(link)[0]
        for packet in (first, b"\xc0\0\0\0\7" + first[5:], first[:1100], b"\xc0\0\0\0\7" + first[5:1100]):
            before = other.received_bytes
            other.send(packet)
            await asyncio.sleep(0.05)
            assert other.received_bytes - before <= (len(packet) if len(packet) >= 1200 else 0)
        # A packet that the receiver has not seen looks as if the sender had moved.
        link.path.loses = lambda number, forward: forward
        known, before = len(captured(link)), other.received_bytes
        await client.send(label_frame(20))
        await until(lambda: len(captured(link)) > known)
        unseen = captured(link)[known:]
        link.path.loses = lambda number, forward: False
        for packet in unseen:
            other.send(packet)
        link.path.loses = lambda number, forward: forward
        await besieged.pipeline.until_decoded(20)
        await asyncio.sleep(0.3)
        assert other.received_bytes - before <= 3 * sum(map(len, unseen))
        link.path.loses = lambda number, forward: False
        for sequence in range(21, 30):
            await client.send(label_frame(sequence))
            await besieged.pipeline.until_decoded(sequence)
    await client.drain()
    assert observer.connections == 1


async def test_strangers_leave_one_line_in_the_log(
    besieged: Besieged, ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    besieged.server._service._pending._timeout_s = 0.2
    with caplog.at_level(logging.INFO):
        for datagrams in (0, 0, 3):
            async with hostile_quic(besieged.address, ours.certificate) as client:
                for _ in range(datagrams):
                    client.put_datagram(b"before the stream")
                assert await client.end() == "no Hello"
        await asyncio.sleep(0)
        gc.collect()
    (record,) = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert record.getMessage().endswith("no Hello") and record.exc_info is None
