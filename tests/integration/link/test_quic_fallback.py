"""`--transport auto`: QUIC where it answers, gRPC elsewhere, and the session goes on when UDP is blocked.

Without certificates the receiver makes one and tells it over gRPC, and no other is trusted over QUIC.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.errors import PeerError
from common.wire.quic import QuicStream
from receiver.link.auth.own_certificate import OwnCertificate
from receiver.link.auth.tokens import add_token
from tests.support.link.certificate_authority import Authority
from tests.support.link.counting_codec import label_frame
from tests.support.link.link_fixture import (
    LinkFixture,
    ReceiverSecurity,
    SenderSecurity,
    at_receiver,
    at_sender,
    send_all,
)
from tests.support.link.path import End
from tests.support.link.recording_pipeline import RecordingPipeline


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize(("quic", "udp"), [(True, True), (False, True), (True, False)])
async def test_every_frame_arrives_over_what_answers(
    link: LinkFixture, ours: Authority, encrypted: bool, quic: bool, udp: bool
) -> None:
    pipeline = RecordingPipeline()
    receives, sends = (at_receiver(ours), at_sender(ours)) if encrypted else (None, None)
    _, address = await link.server(pipeline, security=receives, quic=quic)
    link.path.udp = udp
    client, observer = link.client(address, security=sends, auto=True)
    await client.connect()
    assert isinstance(client._stream, QuicStream if quic and udp else End)
    await send_all(client, 0, 20)
    await client.drain()
    assert (pipeline.decoded, observer.connections) == (list(range(20)), 1)


@pytest.mark.parametrize("durable", [True, False])
async def test_session_goes_on_over_grpc_when_udp_is_blocked(link: LinkFixture, durable: bool) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, quic=True)
    client, observer = link.client(address, auto=True, live=not durable, durable=durable)
    await client.connect()
    for sequence in range(40):
        link.path.udp = sequence < 20
        await client.send(label_frame(sequence))
        await asyncio.sleep(0.1)
    await client.drain()
    assert observer.connections == 2
    assert pipeline.decoded == sorted(set(pipeline.decoded))
    assert pipeline.decoded[-1] == 39
    if durable:
        assert pipeline.decoded == list(range(40))


async def test_idle_session_does_not_connect_again_when_a_heartbeat_is_lost(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, quic=True)
    client, observer = link.client(address, auto=True, live=True)
    await client.connect()
    await send_all(client, 0, 3)
    await pipeline.until_decoded(2)
    for _ in range(10):
        lost: list[int] = []

        def loses(number: int, forward: bool, lost: list[int] = lost) -> bool:
            if forward and not lost:
                lost.append(number)
                return True
            return False

        link.path.loses = loses
        for _ in range(200):
            await asyncio.sleep(0.02)
            assert client._connector.standby._opening is None
        assert lost
    assert observer.connections == 1


async def test_grpc_is_used_where_another_receiver_has_the_udp_port(link: LinkFixture) -> None:
    """As where a tunnel leads to one on another machine."""
    _, address = await link.server(RecordingPipeline(), quic=True)
    pipeline = RecordingPipeline()
    _, another = await link.server(pipeline, quic=True)
    link.path.ports[address.host, address.port] = link.path.ports[another.host, another.port]
    client, _ = link.client(address, auto=True)
    await client.connect()
    assert isinstance(client._stream, End) and not pipeline.opened


async def test_receiver_that_was_started_again_is_reached_over_quic_again(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    first, address = await link.server(pipeline, quic=True)
    client, observer = link.client(address, live=True, auto=True)
    await client.connect()
    await first.stop()
    await link.server(pipeline, quic=True, port=address.port)
    await client.send(label_frame(1))
    await pipeline.until_decoded(1)
    assert isinstance(client._stream, QuicStream)
    assert observer.connections == 2


async def test_tokens_are_asked_for_as_over_grpc(link: LinkFixture, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    (tmp_path / "token").write_text(add_token(tokens, "camera", 1, datetime.now(UTC)))
    server, address = await link.server(RecordingPipeline(), quic=True, security=ReceiverSecurity(tokens=tokens))
    with pytest.raises(PeerError, match="a token is required"):
        await link.client(address, auto=True)[0].connect()
    client, _ = link.client(address, auto=True, security=SenderSecurity(token_file=tmp_path / "token"))
    await client.connect()
    assert isinstance(client._stream, QuicStream)
    assert [session.account for session in server.sessions] == ["token:camera"]


@pytest.mark.parametrize("told", [None, b"", b"no certificate", OwnCertificate().der[:-1], OwnCertificate().der])
async def test_grpc_is_used_where_no_certificate_of_the_receiver_is_told(link: LinkFixture, told: bytes | None) -> None:
    _, address = await link.server(RecordingPipeline(), quic=True)
    link.path.certificates[address] = told
    client, _ = link.client(address, auto=True)
    await client.connect()
    assert isinstance(client._stream, End)
