"""The standby connection: opened once, taken once, closed when dismissed."""

import asyncio
import math
import random
from dataclasses import replace

import pytest

from common.errors import ModelMismatch, PeerError, VersionMismatch
from common.io.addresses import Address
from common.wire.convert import Hello, Welcome
from common.wire.stream import StreamBroken
from sender.link.connector import Backoff, Connector, StandbyConnection
from tests.support.link.counting_codec import MODEL, SECRET, SESSION, settle, until
from tests.support.link.scripted_receiver import FULL, WELCOME, ScriptedReceiver


class FakeConnection:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Network:
    """Records the attempts to connect; the test sets their results."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[FakeConnection]] = []

    def reach(self) -> asyncio.Future[FakeConnection]:
        self.attempts.append(asyncio.get_running_loop().create_future())
        return self.attempts[-1]


async def test_dismiss_closes_the_connection_or_cancels_the_attempt() -> None:
    network, connection = Network(), FakeConnection()
    standby = StandbyConnection(network.reach)
    await standby.dismiss()
    standby.seek()
    network.attempts[0].set_result(connection)
    await standby.dismiss()
    assert connection.closed
    standby.seek()
    await standby.dismiss()
    assert network.attempts[1].cancelled()
    assert not standby.is_open


async def test_take_after_a_failure_tries_again() -> None:
    network, connection = Network(), FakeConnection()
    standby = StandbyConnection(network.reach)
    standby.seek()
    network.attempts[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    await standby.wait(0.0)
    assert not standby.is_open
    taking = asyncio.create_task(standby.take())
    await settle()
    network.attempts[1].set_result(connection)
    assert await taking is connection


async def test_take_raises_when_the_attempt_fails() -> None:
    network = Network()
    standby = StandbyConnection(network.reach)
    taking = asyncio.create_task(standby.take())
    await settle()
    network.attempts[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    with pytest.raises(StreamBroken, match="refused"):
        await taking


async def test_cancel_while_dismissing_is_not_lost() -> None:
    async def slow_to_stop() -> FakeConnection:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
        raise AssertionError

    standby = StandbyConnection(slow_to_stop)
    standby.seek()
    await asyncio.sleep(0)
    dismissing = asyncio.create_task(standby.dismiss())
    await asyncio.sleep(0)
    dismissing.cancel()
    await asyncio.wait([dismissing], timeout=10)
    assert dismissing.cancelled()


PEER = Address("127.0.0.1", 50051)
HELLO = Hello(SESSION, "test", 1, MODEL, live=True, session_secret=SECRET)


def connector(receiver: ScriptedReceiver, timeout_s: float = 60.0) -> Connector:
    return Connector(PEER, receiver, random.Random(1), connect_timeout_s=timeout_s, reconnect_timeout_s=timeout_s)


def test_backoff_doubles_up_to_the_cap_with_at_most_half_jitter() -> None:
    backoff = Backoff(0.1, 0.5, random.Random(7))
    for longest_s in (0.1, 0.2, 0.4, 0.5, 0.5):
        assert longest_s / 2 <= backoff.next_s() <= longest_s
    backoff.reset()
    assert backoff.next_s() <= 0.1


async def test_open_retries_until_the_handshake_succeeds() -> None:
    receiver = ScriptedReceiver(None, None, WELCOME)
    stream, welcome = await connector(receiver).connect(HELLO)
    assert welcome == WELCOME
    await receiver.stream()
    assert receiver.hellos == [HELLO]
    await stream.close()


async def test_token_that_is_not_checked_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    unchecked = replace(WELCOME, token_unchecked=True)
    opener = connector(ScriptedReceiver(WELCOME, unchecked, unchecked))
    for number, warnings in enumerate((0, 1, 1)):
        stream, _ = await (opener.reconnect(HELLO, "lost") if number else opener.connect(HELLO))
        assert sum("checks no tokens" in message for message in caplog.messages) == warnings
        await stream.close()
        opener.made_progress()


@pytest.mark.parametrize(
    ("timeout_s", "limit"), [(60.0, "trying for 60 s"), (math.inf, "trying until there is one")], ids=["live", "spool"]
)
async def test_absent_receiver_is_told_once_while_it_is_waited_for(
    timeout_s: float, limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = ScriptedReceiver(None, None, WELCOME)
    stream, _ = await connector(receiver, timeout_s).connect(HELLO)
    told = "no receiver at 127.0.0.1:50051 yet (connection refused): start it, or check --peer; "
    assert caplog.messages == [told + limit]
    await stream.close()


@pytest.mark.parametrize(
    ("diagnosis", "told"),
    [(None, "no receiver at 127.0.0.1:50051 yet (no answer): start it, or check --peer"), ("it says nothing",) * 2],
)
async def test_silent_server_is_told_while_it_is_waited_for(
    diagnosis: str | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = ScriptedReceiver(WELCOME, diagnosis=diagnosis)
    receiver.network.clear()
    connecting = asyncio.create_task(connector(receiver).connect(HELLO))
    await until(lambda: bool(caplog.messages))
    receiver.network.set()
    stream, _ = await connecting
    assert caplog.messages == [f"{told}; trying for 60 s"]
    await stream.close()


async def test_open_of_another_server_fails_after_two_diagnoses() -> None:
    with pytest.raises(PeerError, match="it is an SSH server"):
        await connector(ScriptedReceiver(diagnosis="it is an SSH server")).connect(HELLO)


async def test_session_of_an_earlier_process_waits_behind_another_server(caplog: pytest.LogCaptureFixture) -> None:
    receiver = ScriptedReceiver(None, None, None, WELCOME, diagnosis="it is a proxy")
    stream, _ = await connector(receiver).connect(replace(HELLO, resume=True))
    assert caplog.messages == ["it is a proxy; waiting for the receiver that this session had"]
    await stream.close()


async def test_reconnect_ignores_other_servers_until_the_time_is_over() -> None:
    receiver = ScriptedReceiver(None, None, None, WELCOME, diagnosis="it is an SSH server")
    stream, _ = await connector(receiver).reconnect(HELLO, "lost")
    await stream.close()


async def test_open_closes_the_stream_of_a_receiver_that_does_not_fit() -> None:
    for welcome, error, message in (
        (Welcome(False, b"\xee" * 8, "another model"), ModelMismatch, r"(01){8} here, (ee){8} at 127\.0\.0\.1:50051"),
        (Welcome(False, MODEL, "it speaks protocol version 7"), VersionMismatch, "it speaks protocol version 7"),
    ):
        receiver = ScriptedReceiver(welcome)
        with pytest.raises(error, match=message):
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


@pytest.fixture
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays of stalls that a test can wait for."""
    monkeypatch.setattr("sender.link.connector._FIRST_STALL_BACKOFF_S", 0.01)
    monkeypatch.setattr("sender.link.connector._MAX_STALL_BACKOFF_S", 0.02)


async def test_connect_waits_for_a_full_receiver_beyond_the_connect_timeout(
    short_delays: None, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = ScriptedReceiver(*[FULL] * 20, WELCOME)
    opener = Connector(PEER, receiver, random.Random(1), connect_timeout_s=0.05, reconnect_timeout_s=60.0)
    stream, welcome = await opener.connect(HELLO)
    assert welcome == WELCOME
    assert caplog.messages == ["the receiver at 127.0.0.1:50051 is full for now: 64 sessions; waiting"]
    await stream.close()


async def test_receiver_that_stays_full(short_delays: None) -> None:
    receiver = ScriptedReceiver(always=FULL)
    opener = Connector(PEER, receiver, random.Random(1), connect_timeout_s=0.1, reconnect_timeout_s=0.3)
    with pytest.raises(
        PeerError, match=r"had no room within 0\.3 s \(full for now.*\): try again later, or give a longer --reconn"
    ):
        await opener.connect(HELLO)
    assert receiver.opened > 5


async def test_other_refusals_are_final() -> None:
    for refusal in (
        StreamBroken("RESOURCE_EXHAUSTED", "the message is too large"),
        StreamBroken("PERMISSION_DENIED", "the session belongs to another sender"),
        StreamBroken("UNAUTHENTICATED", "the token was revoked"),
        StreamBroken("INVALID_ARGUMENT", "full for now"),
    ):
        receiver = ScriptedReceiver(refusal, WELCOME)
        with pytest.raises(PeerError, match=f"refused the connection: {refusal.reason}"):
            await connector(receiver).connect(HELLO)
        assert receiver.opened == 1


async def test_receiver_that_cannot_record_the_session(short_delays: None, caplog: pytest.LogCaptureFixture) -> None:
    receiver = ScriptedReceiver(always=StreamBroken("INTERNAL", "the receiver cannot write its output"))
    with pytest.raises(
        PeerError, match=r"did not take the session within 0\.2 s: the receiver cannot write its output"
    ):
        await connector(receiver, 0.2).connect(HELLO)
    assert len(caplog.messages) == 1


async def test_delay_grows_until_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def no_sleep(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("sender.link.connector.asyncio.sleep", no_sleep)
    opener = connector(ScriptedReceiver(*[WELCOME] * 20))
    await opener.connect(HELLO)
    for _ in range(8):
        await opener.reconnect(HELLO, "the disk is full")
    for delay_s, longest_s in zip(slept, (0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0), strict=True):
        assert longest_s / 2 <= delay_s <= longest_s
    opener.made_progress()
    slept.clear()
    await opener.reconnect(HELLO, "connection reset")
    assert slept == []


async def test_time_counts_from_the_last_progress(short_delays: None) -> None:
    opener = connector(ScriptedReceiver(*[WELCOME] * 500), 0.3)
    await opener.connect(HELLO)
    message = r"acknowledged no frame within 0\.3 s: the disk is full"
    for _ in range(2):
        with pytest.raises(PeerError, match=message):
            while True:
                await opener.reconnect(HELLO, "the disk is full")
        opener.made_progress()
