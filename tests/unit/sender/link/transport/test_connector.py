import asyncio
import random

import pytest

from common.errors import ModelMismatch, PeerError
from common.io.addresses import Address
from common.wire.convert import Hello, Welcome
from common.wire.stream import StreamBroken
from sender.link.transport.connector import Backoff, Connector
from tests.support.fake_link import MODEL, SECRET, SESSION
from tests.support.scripted_receiver import WELCOME, ScriptedReceiver

PEER = Address("127.0.0.1", 50051)
HELLO = Hello(SESSION, "test", 1, MODEL, live=True, session_secret=SECRET)


def connector(receiver: ScriptedReceiver, timeout_s: float = 60.0) -> Connector:
    return Connector(PEER, receiver, random.Random(1), connect_timeout_s=timeout_s, reconnect_timeout_s=timeout_s)


def test_backoff_doubles_up_to_the_cap_with_at_most_half_jitter() -> None:
    backoff = Backoff(0.1, 0.5, random.Random(7))
    for longest_s in (0.1, 0.2, 0.4, 0.5, 0.5):
        assert longest_s / 2 <= backoff.next_s() <= longest_s


def test_backoff_reset_restores_the_first_delay() -> None:
    backoff = Backoff(0.1, 10.0, random.Random(7))
    for _ in range(6):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_backoff_cap_below_first_is_refused() -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(1.0, 0.5, random.Random(7))


async def test_open_retries_until_the_handshake_succeeds() -> None:
    receiver = ScriptedReceiver(None, None, WELCOME)
    stream, welcome = await connector(receiver).connect(HELLO)
    assert welcome == WELCOME
    await receiver.stream()
    assert receiver.hellos == [HELLO]
    await stream.close()


async def test_open_of_another_server_fails_after_two_diagnoses() -> None:
    with pytest.raises(PeerError, match="it is an SSH server"):
        await connector(ScriptedReceiver(diagnosis="it is an SSH server")).connect(HELLO)


async def test_reconnect_ignores_other_servers_until_the_time_is_over() -> None:
    receiver = ScriptedReceiver(None, None, None, WELCOME, diagnosis="it is an SSH server")
    stream, _ = await connector(receiver).reconnect(HELLO, "lost")
    await stream.close()


async def test_open_closes_the_stream_of_another_model() -> None:
    receiver = ScriptedReceiver(Welcome(False, b"\xee" * 8, "another model"))
    with pytest.raises(ModelMismatch):
        await connector(receiver).connect(HELLO)
    with pytest.raises(StreamBroken, match="closed"):
        await receiver.stream()


async def test_open_uses_the_standby_connection() -> None:
    receiver = ScriptedReceiver(WELCOME)
    opener = connector(receiver)
    opener.standby.seek()
    await asyncio.sleep(0)
    stream, _ = await opener.connect(HELLO)
    assert not opener.standby.is_open
    await stream.close()
