"""QUIC without certificates: the receiver makes one, tells it over gRPC in the clear, and no other is trusted."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.errors import PeerError
from common.io.addresses import Address
from common.wire.quic import QuicStream
from receiver.link.auth.authenticator import CallContext
from receiver.link.auth.own_certificate import OwnCertificate
from receiver.link.auth.tokens import add_token
from receiver.link.grpc_stream import GrpcServerStream
from receiver.link.server import LinkServer
from sender.link.client import LinkClient
from sender.link.transport.auto_transport import AutoTransport
from sender.link.transport.grpc_stream import GrpcClientStream
from sender.link.transport.transport import Transport
from tests.support.link.fake_link import label_frame
from tests.support.link.link_fixture import LinkFixture, ReceiverSecurity, SenderSecurity, send_all
from tests.support.link.lossy_relay import LossyRelay
from tests.support.link.recording_pipeline import RecordingPipeline


async def delivers(link: LinkFixture, peer: Address, security: SenderSecurity | None = None) -> LinkClient:
    """A sender whose frames arrived, by `--transport auto`."""
    client, _ = link.client(peer, transport=AutoTransport(Transport(security)))
    await client.connect()
    await send_all(client, 0, 3)
    return client


@pytest.mark.parametrize("quic", [True, False])
async def test_quic_is_used_where_the_receiver_takes_it(link: LinkFixture, quic: bool) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, quic=quic)
    client = await delivers(link, address)
    assert isinstance(client._stream, QuicStream if quic else GrpcClientStream)
    await client.drain()
    assert pipeline.decoded == [0, 1, 2]


async def test_chosen_quic_needs_no_certificates(link: LinkFixture) -> None:
    assert await link.deliver(ReceiverSecurity(), SenderSecurity(), quic=True) == list(range(20))
    _, address = await link.server(RecordingPipeline())
    with pytest.raises(PeerError, match="takes no QUIC: start it without --no-quic"):
        await link.quic_client(address, SenderSecurity())[0].connect()


async def test_grpc_is_used_where_udp_leads_nowhere(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline(), quic=True)
    tunnel = await link.relay(address)
    assert isinstance((await delivers(link, tunnel.address))._stream, GrpcClientStream)


async def test_grpc_is_used_where_another_receiver_has_the_udp_port(link: LinkFixture) -> None:
    """As where a tunnel leads to one on another machine."""
    _, address = await link.server(RecordingPipeline(), quic=True)
    pipeline = RecordingPipeline()
    _, another = await link.server(pipeline, quic=True)
    tunnel, udp = await link.relay(address), LossyRelay(another)
    await udp.start(tunnel.address.port)
    assert isinstance((await delivers(link, tunnel.address))._stream, GrpcClientStream)
    await udp.stop()
    assert not pipeline.decoded


async def test_receiver_that_was_started_again_is_reached_over_quic_again(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    first, address = await link.server(pipeline, quic=True)
    client, observer = link.client(address, live=True, transport=AutoTransport(Transport()))
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
        await delivers(link, address)
    client = await delivers(link, address, SenderSecurity(token_file=tmp_path / "token"))
    assert isinstance(client._stream, QuicStream)
    assert [session.account for session in server.sessions] == ["token:camera"]


async def test_grpc_is_used_where_no_certificate_is_told_before_hello(
    link: LinkFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a receiver of another release."""

    async def serve(server: LinkServer, _: object, context: CallContext) -> None:
        await server._service.serve(GrpcServerStream(context), context)

    monkeypatch.setattr("sender.link.transport.quic_transport._ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(LinkServer, "_serve", serve)
    _, address = await link.server(RecordingPipeline(), quic=True)
    assert isinstance((await delivers(link, address))._stream, GrpcClientStream)


@pytest.mark.parametrize("told", [b"", b"no certificate", OwnCertificate().der[:-1]])
async def test_what_is_no_certificate_is_as_none(link: LinkFixture, told: bytes) -> None:
    server, address = await link.server(RecordingPipeline(), quic=True)
    server._greeting = (("bodywire-certificate-bin", told),)
    assert isinstance((await delivers(link, address))._stream, GrpcClientStream)
