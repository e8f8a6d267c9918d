"""The link over QUIC: complete and lossy sessions, certificates, tokens, refusals, and packets of strangers."""

import asyncio
import itertools
import random
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.blobs import Blob
from common.errors import PeerError
from common.wire.traffic import Traffic
from receiver.link.auth.tokens import add_token, revoke_token
from sender.link.session import Fate
from tests.support.link.certificate_authority import Authority
from tests.support.link.counting_codec import label_frame
from tests.support.link.link_fixture import LinkFixture, ReceiverSecurity, at_receiver, at_sender, send_all
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.recording_pipeline import RecordingPipeline


async def test_every_frame_of_a_file_arrives_in_order(link: LinkFixture, ours: Authority) -> None:
    assert await link.deliver(at_receiver(ours), at_sender(ours), quic=True) == list(range(20))
    named = at_sender(ours, tls_name="studio.example")
    assert await link.deliver(at_receiver(ours, "elsewhere"), named, quic=True) == list(range(20))


async def test_mutual_tls(link: LinkFixture, ours: Authority, others: Authority) -> None:
    receives = at_receiver(ours, tls_ca=ours.certificate)
    server, address = await link.server(RecordingPipeline(), security=receives, quic=True)
    await link.quic_client(address, at_sender(ours, ours))[0].connect()
    assert [session.account for session in server.sessions] == ["certificate:camera"]
    for sends, reason in (
        (at_sender(ours, others), "refused the connection: --tls-cert is not valid"),
        (at_sender(ours), "refused the connection: a certificate is required"),
    ):
        with pytest.raises(PeerError, match=reason):
            await link.deliver(receives, sends, quic=True)


async def test_tokens(link: LinkFixture, ours: Authority, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    token = add_token(tokens, "camera", 1, datetime.now(UTC))
    (tmp_path / "token").write_text(token)
    receives, sends = at_receiver(ours, tokens=tokens), at_sender(ours, token_file=tmp_path / "token")
    assert await link.deliver(receives, sends, quic=True) == list(range(20))
    with pytest.raises(PeerError, match="a token is required"):
        await link.deliver(receives, at_sender(ours), quic=True)
    _, address = await link.server(RecordingPipeline(), security=receives, quic=True)
    sending, _ = link.quic_client(address, sends)
    await sending.connect()
    revoke_token(tokens, "camera")
    with pytest.raises(PeerError, match="revoked"):
        for sequence in itertools.count():
            await sending.send(label_frame(sequence))
            await asyncio.sleep(0.1)


def sparse_losses(seed: int) -> Callable[[int, bool], bool]:
    """A fifth of the packets, but never two in a row of one direction: a second of silence is a loss of the peer."""
    rng, before = random.Random(seed), {True: False, False: False}

    def loses(number: int, forward: bool) -> bool:
        before[forward] = not before[forward] and rng.random() < 0.25
        return before[forward]

    return loses


async def test_live_frames_that_are_lost_are_not_sent_again(link: LinkFixture, ours: Authority) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=at_receiver(ours), quic=True)
    sending, observer = link.quic_client(address, at_sender(ours), live=True, pacer=ConstantPacer(500))
    await sending.connect()
    link.path.loses = sparse_losses(5)
    sending.post(Blob("noise", 1, bytes(3000)))
    for sequence in range(150):
        await sending.send(label_frame(sequence))
        await asyncio.sleep(0.04)
    link.path.loses = lambda number, forward: False
    await sending.drain()
    fates = dict(observer.fates)
    assert len(observer.fates) == len(fates) == 150
    assert {Fate.ACKNOWLEDGED, Fate.LOST} <= set(fates.values()) <= {*Fate} - {Fate.REJECTED}
    # Frames are decoded at most once, in order, and what was acknowledged was decoded.
    assert pipeline.decoded == sorted(set(pipeline.decoded))
    assert {sequence for sequence, fate in fates.items() if fate is Fate.ACKNOWLEDGED} <= set(pipeline.decoded)
    assert len(pipeline.decoded) > 75
    assert [blob.data for blob in pipeline.blobs] == [bytes(3000)]
    assert observer.losses == []


async def test_last_frames_that_are_lost_do_not_keep_the_sender(link: LinkFixture, ours: Authority) -> None:
    _, address = await link.server(RecordingPipeline(), security=at_receiver(ours), quic=True)
    sending, observer = link.quic_client(address, at_sender(ours), live=True)
    await sending.connect()
    await sending.send(label_frame(0))
    while not observer.fates:
        await asyncio.sleep(0.01)
    # Its answer is lost, and whatever repeats it.
    link.path.loses = lambda number, forward: not forward
    await sending.send(label_frame(1))
    await asyncio.sleep(0.9)
    link.path.loses = lambda number, forward: False
    async with asyncio.timeout(20):
        await sending.drain()
    assert dict(observer.fates) == {0: Fate.ACKNOWLEDGED, 1: Fate.LOST}


async def test_every_byte_is_counted(link: LinkFixture, ours: Authority) -> None:
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline, security=at_receiver(ours), quic=True)
    traffic = Traffic()
    sending, _ = link.quic_client(address, at_sender(ours), live=True, traffic=traffic)
    await sending.connect()
    session = server.sessions[0]
    for sequence in range(30):
        await sending.send(label_frame(sequence))
        await asyncio.sleep(0.02)
    await sending.drain()
    await sending.close()
    await asyncio.sleep(0.1)
    ip_bytes = sum(packet.ip_bytes for packet in link.path.packets)
    assert traffic.total_bytes == pytest.approx(ip_bytes, rel=0.03)
    assert session.traffic.total_bytes == pytest.approx(ip_bytes, rel=0.03)


async def test_complete_session_loses_nothing_on_a_lossy_path(link: LinkFixture, ours: Authority) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=at_receiver(ours), quic=True)
    rng = random.Random(7)
    link.path.loses = lambda number, forward: rng.random() < 0.1
    sending, _ = link.quic_client(address, at_sender(ours), durable=True)
    await sending.connect()
    for sequence in range(40):
        await sending.send(label_frame(sequence))
        await pipeline.until_decoded(sequence)
    await sending.drain()
    assert pipeline.decoded == list(range(40))


async def test_live_session_goes_on_after_an_outage_on_the_same_connection(link: LinkFixture, ours: Authority) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=at_receiver(ours), quic=True)
    sending, observer = link.quic_client(address, at_sender(ours), live=True)
    await sending.connect()
    loop = asyncio.get_running_loop()
    began_s, sequence = loop.time(), 0
    while loop.time() < began_s + 2.0:
        link.path.loses = lambda number, forward: 0.5 < loop.time() - began_s < 0.9
        await sending.send(label_frame(sequence))
        sequence += 1
        await asyncio.sleep(0.02)
    await sending.drain()
    assert observer.connections == 1
    assert max(pipeline.decoded) >= sequence - 2


@pytest.mark.parametrize("durable", [False, True])
async def test_session_goes_on_from_another_address(link: LinkFixture, ours: Authority, durable: bool) -> None:
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline, security=at_receiver(ours), quic=True)
    sending, observer = link.quic_client(address, at_sender(ours), live=not durable, durable=durable)
    await sending.connect()
    account = server.sessions[0].account
    for sequence in range(30):
        if sequence in (10, 20):
            link.path.move()
        await sending.send(label_frame(sequence))
        await pipeline.until_decoded(sequence)
    assert (observer.connections, server.sessions[0].account) == (1, account)
    await sending.drain()


async def test_certificate_that_is_replaced_counts_from_the_next_connection_on(
    link: LinkFixture, ours: Authority, tmp_path: Path
) -> None:
    others = Authority.make(tmp_path / "others")
    others.issue("receiver", "127.0.0.1")

    def copy(authority: Authority) -> None:
        for suffix in (".pem", ".key"):
            (tmp_path / f"receiver{suffix}").write_bytes((authority.folder / f"receiver{suffix}").read_bytes())

    copy(ours)
    security = ReceiverSecurity(tls_cert=tmp_path / "receiver.pem", tls_key=tmp_path / "receiver.key")
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=security, quic=True)
    before, observer = link.quic_client(address, at_sender(ours))
    await before.connect()
    copy(others)
    with pytest.raises(PeerError, match="unable to get local issuer certificate"):
        await link.quic_client(address, at_sender(ours))[0].connect()
    await link.quic_client(address, at_sender(others))[0].connect()
    await send_all(before, 0, 20)
    await before.drain()
    assert (pipeline.decoded, observer.connections) == (list(range(20)), 1)


async def test_packets_of_strangers_change_nothing(link: LinkFixture, ours: Authority) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=at_receiver(ours), quic=True)
    sending, _ = link.quic_client(address, at_sender(ours))
    await sending.connect()
    rng = random.Random(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number in range(2000):
            size = rng.choice((1, 20, 40, 1200, 1500))
            head = bytes([rng.choice((0x00, 0x40, 0x80, 0xC0, 0xE0, 0xFF))]) + rng.choice((b"\0\0\0\1", b"\0\0\0\0"))
            stranger.sendto(head + rng.randbytes(size), (address.host, address.port))
            if number % 50 == 0:
                await asyncio.sleep(0)
    await send_all(sending, 0, 20)
    await sending.drain()
    assert pipeline.decoded == list(range(20))
