import asyncio

import pytest

from common.wire.convert import PROTOCOL_VERSION, Drain, Hello, encode_client
from common.wire.stream import StreamBroken
from receiver.link.handshake import Handshake, PendingHandshakes, receive_hello
from receiver.link.refusals import StreamRefused
from tests.support.link.counting_codec import MODEL, SECRET, new_session, settle
from tests.support.link.path import stream_pair

HANDSHAKE = Handshake(model_hash=MODEL, codec_version=1)


def hello(*, codec_version: int = 1, model_hash: bytes = MODEL, protocol_version: int = PROTOCOL_VERSION) -> Hello:
    return Hello(
        *(bytes(16), "test", codec_version, model_hash),
        live=False,
        protocol_version=protocol_version,
        session_secret=SECRET,
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (hello(protocol_version=2), "it has protocol version 5, the sender version 2"),
        (hello(codec_version=2), "it has codec version 1, the sender version 2"),
        (hello(model_hash=b"\xee" * 8), "it has model 0101010101010101, the sender eeeeeeeeeeeeeeee"),
    ],
)
def test_refusal_names_both_versions(message: Hello, reason: str) -> None:
    refusal = HANDSHAKE.refusal(message)
    assert refusal is not None
    assert (refusal.accepted, refusal.model_hash, refusal.reason) == (False, MODEL, reason)


def test_welcome_has_the_state_of_the_session() -> None:
    session = new_session()
    session.next_sequence = 7
    welcome = HANDSHAKE.welcome(session, True)
    assert (welcome.accepted, welcome.next_sequence, welcome.window, welcome.resumed) == (True, 7, 12, True)


async def test_first_message_must_be_hello() -> None:
    client, server = stream_pair()
    await client.write(encode_client(hello()))
    assert await receive_hello(server) == hello()
    for data in (encode_client(Drain()), b"\xff\xff"):
        await client.write(data)
        with pytest.raises(StreamBroken, match="INVALID_ARGUMENT"):
            await receive_hello(server)
    await client.finish()
    assert await receive_hello(server) is None


async def silence(pending: PendingHandshakes, host: str) -> None:
    async with pending.waiting(host):
        await asyncio.Event().wait()


async def test_stream_without_hello_ends_in_time() -> None:
    with pytest.raises(StreamRefused, match=r"no Hello \(DEADLINE_EXCEEDED\)"):
        await silence(PendingHandshakes(timeout_s=0.01), "a host")


async def test_of_too_many_streams_without_hello_the_oldest_of_the_busiest_host_end() -> None:
    pending = PendingHandshakes(limit=3)
    honest = asyncio.create_task(silence(pending, "honest"))
    flood = [asyncio.create_task(silence(pending, "hostile")) for _ in range(20)]
    await settle()
    assert not honest.done()
    assert [task.done() for task in flood] == [True] * 18 + [False] * 2
    for task in flood[:18]:
        with pytest.raises(StreamRefused, match="full for now"):
            task.result()
    pending.end_all(StreamBroken("UNAVAILABLE", "the receiver is stopping"))
    for task in (honest, *flood[18:]):
        with pytest.raises(StreamBroken, match="stopping"):
            await task


async def test_cancelled_stream_without_hello_gives_its_place_back() -> None:
    pending = PendingHandshakes(limit=1)
    task = asyncio.create_task(silence(pending, "a host"))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with pending.waiting("a host"):
        await settle()
