"""The ports of a receiver: strangers on them, streams that say nothing, and proxies of the environment."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest

from common.errors import OutputError, PeerError
from common.io.addresses import Address, bound_socket
from common.wire.certificates import CertificateFiles
from common.wire.convert import AckStatus
from common.wire.health_check import check_health
from common.wire.quic import QuicStream
from common.wire.stream import StreamBroken
from receiver.config import SecurityConfig
from sender.link.transport import GrpcClientStream
from tests.netlab.hostile.hostile_packets import hostile_messages
from tests.support.link.certificate_authority import Authority
from tests.support.link.link_fixture import LOOPBACK, LinkFixture, SenderSecurity, at_receiver, at_sender, send_all
from tests.support.link.owned_sessions import OwnedPipeline, OwnedSessions
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_sender import ScriptedSender


async def test_stop_ends_streams_without_hello_at_once(link: LinkFixture) -> None:
    server, address = await link.server(OwnedPipeline(OwnedSessions()))
    streams = [ScriptedSender(await link.stream(address)) for _ in range(20)]
    # One of them has its session, so the others have reached the receiver too.
    await streams[-1].hello()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await server.stop()
    assert loop.time() - began_s < 4.0, "the Hello of a stream may take 5 s"
    for stream in streams[:-1]:
        # gRPC itself cancels a stream that it has not handed over yet.
        assert (await stream.ended())[0] in ("UNAVAILABLE", "CANCELLED")
    for stream in streams:
        await stream.end.close()


async def test_silent_connection_is_closed(link: LinkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.link.server._HANDSHAKE_TIMEOUT_MS", 100)
    _, address = await link.server(OwnedPipeline(OwnedSessions()))
    reader, writer = await asyncio.open_connection(LOOPBACK, address.port)
    async with asyncio.timeout(20):
        await reader.read()
    writer.close()


_HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
_RESET = b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"SSH-2.0-x\r\n", id="another protocol"),
        pytest.param(b"\x16\x03\x01\xff\xff\x01" + bytes(20_000), id="half of TLS"),
        pytest.param(_HTTP_2 + 2000 * _PING, id="pings"),
        pytest.param(_HTTP_2 + 2000 * _RESET, id="resets"),
        pytest.param(_HTTP_2 + b"\xff\xff\xff\xff\xff" + bytes(1000), id="absurd frame"),
    ],
)
async def test_noise_below_grpc_disturbs_nobody(link: LinkFixture, data: bytes) -> None:
    _, address = await link.server(OwnedPipeline(OwnedSessions()))
    async with ScriptedSender(await link.stream(address)) as honest:
        await honest.hello()
        for _ in range(5):
            _, writer = await asyncio.open_connection(LOOPBACK, address.port)
            writer.write(data)
            writer.close()
        assert await honest.delivers(0) is AckStatus.DECODED
    async with ScriptedSender(await link.stream(address)) as later:
        await later.hello(resume=True)


async def test_absurd_messages_end_their_own_stream_alone(link: LinkFixture, caplog: pytest.LogCaptureFixture) -> None:
    _, address = await link.server(OwnedPipeline(OwnedSessions()))
    async with ScriptedSender(await link.stream(address)) as honest:
        await honest.hello()
        messages = hostile_messages(np.random.default_rng(3))
        for number in range(200, 240):
            async with ScriptedSender(await link.stream(address)) as hostile:
                await hostile.hello(session=bytes([number]) * 16)
                # Either end may have ended it.
                with contextlib.suppress(StreamBroken):
                    for message in islice(messages, 7):
                        await hostile.end.write(message)
                    await hostile.end._call.done_writing()
                assert (await hostile.ended())[0] != "UNKNOWN", "an error that nothing handles"
        assert await honest.delivers(0) is AckStatus.DECODED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_connections_are_bounded(link: LinkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.config._OTHER_CONNECTIONS", 2)
    monkeypatch.setattr("receiver.link.server._COUNT_INTERVAL_S", 60.0)
    _, address = await link.server(OwnedPipeline(OwnedSessions()), security=SecurityConfig(max_sessions=1))
    connections = [await asyncio.open_connection(LOOPBACK, address.port) for _ in range(5)]
    # The fifth is closed at once, the others when they have said nothing for too long.
    async with asyncio.timeout(4):
        await connections[4][0].read()
    assert not any(reader.at_eof() for reader, _ in connections[:4])
    for _, writer in connections:
        writer.close()


@pytest.mark.parametrize("no_proxy", ["", "localhost,127.0.0.1"])
@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_proxies_of_the_environment_are_not_used(
    link: LinkFixture, monkeypatch: pytest.MonkeyPatch, variable: str, no_proxy: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", no_proxy)
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline)
    await asyncio.to_thread(check_health, address, CertificateFiles(None, None, None), 10.0)
    client, _ = link.client(Address("localhost", address.port))
    await client.connect()
    await send_all(client, 0, 2)
    await client.drain()
    assert pipeline.decoded == [0, 1]
    await server.stop()
    client, _ = link.client(address, connect_timeout=0.3)
    with pytest.raises(PeerError, match=f"check --peer; {variable} is set, but senders use no proxy"):
        await client.connect()


@pytest.mark.parametrize(
    ("protocols", "reason"),
    [
        (("UDP",), "cannot listen on UDP .*: give --listen another port, or --no-quic"),
        (("TCP",), r"cannot listen on 127.* \(Address already in use\): give --listen a free"),
        (("TCP", "UDP"), r"cannot listen on 127.* \(Address already in use\): give --listen a free"),
    ],
    ids=["UDP", "TCP", "another receiver's"],
)
async def test_a_port_that_is_taken_is_refused(
    link: LinkFixture, ours: Authority, protocols: Sequence[str], reason: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        for each in {"TCP": tcp, "UDP": udp}.keys() - set(protocols):
            {"TCP": tcp, "UDP": udp}[each].close()
        with pytest.raises(OutputError, match=reason):
            await link.server(RecordingPipeline(), port=port, security=at_receiver(ours), quic=True)


async def test_a_chosen_port_is_free_for_both_protocols(
    link: LinkFixture, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[socket.socket] = []

    def bound_where_udp_is_taken(address: Address, kind: socket.SocketKind) -> socket.socket:
        if kind == socket.SOCK_DGRAM and not taken:
            taken.append(bound_socket(address, kind))
        return bound_socket(address, kind)

    monkeypatch.setattr("receiver.ports.bound_socket", bound_where_udp_is_taken)
    assert await link.deliver(at_receiver(ours), at_sender(ours), quic=True) == list(range(20))
    taken[0].close()


@pytest.mark.parametrize("auto", [False, True])
async def test_receiver_that_is_not_trusted_is_diagnosed_over_tls(
    link: LinkFixture, ours: Authority, others: Authority, auto: bool
) -> None:
    for name, trusted, why in (
        ("receiver", others, "give the authority that signed it"),
        ("elsewhere", ours, "tls-name"),
    ):
        _, address = await link.server(RecordingPipeline(), security=at_receiver(ours, name), quic=True)
        sends = at_sender(trusted)
        client, _ = link.client(address, security=sends, auto=True) if auto else link.quic_client(address, sends)
        with pytest.raises(PeerError, match=f"is not valid: .*{why}"):
            await client.connect()


async def test_receiver_without_quic(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline())
    with pytest.raises(PeerError, match="takes no QUIC: start it without --no-quic"):
        await link.quic_client(address, SenderSecurity())[0].connect()


@pytest.mark.parametrize("quic", [True, False])
async def test_quic_is_used_where_the_receiver_takes_it(link: LinkFixture, quic: bool) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, quic=quic)
    client, _ = link.client(address, auto=True)
    await client.connect()
    await send_all(client, 0, 3)
    assert isinstance(client._stream, QuicStream if quic else GrpcClientStream)
    await client.drain()
    assert pipeline.decoded == [0, 1, 2]
