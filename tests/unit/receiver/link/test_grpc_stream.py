import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from common.clock import SYSTEM_CLOCK, Clock
from common.wire.stream import StreamBroken
from receiver.link.grpc_stream import GrpcServerStream, RateLimits

TIMEOUT_S = 0.05


class Context:
    """A stream whose sender reads this many messages and then no more."""

    def __init__(self, messages: int) -> None:
        self._left = messages

    async def write(self, _: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()


@pytest.fixture
def stream_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], GrpcServerStream]:
    monkeypatch.setattr("receiver.link.grpc_stream._WRITE_TIMEOUT_S", TIMEOUT_S)

    def make(messages: int) -> GrpcServerStream:
        context: Any = Context(messages)
        return GrpcServerStream(context, RateLimits(1e6, 1e3, SYSTEM_CLOCK).of_stream("host"))

    return make


@pytest.mark.parametrize("messages", [0, 3])
async def test_write_to_a_sender_that_does_not_read_ends_the_stream(
    stream_of: Callable[[int], GrpcServerStream], messages: int
) -> None:
    stream = stream_of(messages)
    for _ in range(messages):
        await stream.write(b"acknowledgement")
        await asyncio.sleep(0.7 * TIMEOUT_S)
    with pytest.raises(StreamBroken, match=r"the sender does not read \(DEADLINE_EXCEEDED\)"):
        await stream.write(b"acknowledgement")
    # The cancellation was the deadline's own: the task goes on.
    await asyncio.sleep(0)


async def test_a_write_has_the_whole_time_after_earlier_ones(stream_of: Callable[[int], GrpcServerStream]) -> None:
    stream, loop = stream_of(1), asyncio.get_running_loop()
    await stream.write(b"acknowledgement")
    await asyncio.sleep(0.8 * TIMEOUT_S)
    began_s = loop.time()
    with pytest.raises(StreamBroken):
        await stream.write(b"acknowledgement")
    assert loop.time() - began_s >= 0.99 * TIMEOUT_S


async def test_a_cancelled_write_stays_cancelled(stream_of: Callable[[int], GrpcServerStream]) -> None:
    writing = asyncio.create_task(stream_of(0).write(b"acknowledgement"))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await asyncio.sleep(2 * TIMEOUT_S)


async def test_an_idle_stream_is_not_ended(stream_of: Callable[[int], GrpcServerStream]) -> None:
    stream = stream_of(2)
    await stream.write(b"acknowledgement")
    await asyncio.sleep(3 * TIMEOUT_S)
    await stream.write(b"acknowledgement")


class Time:
    """A clock that the test advances, and the waits that were asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []
        self.clock = Clock(lambda: self.now_s, lambda: self.now_s)

    async def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(asyncio, "sleep", time.sleep)
    return time


async def test_small_messages_are_limited_by_number(time: Time) -> None:
    limiter = RateLimits(1e6, 10.0, time.clock).of_stream("ipv4:10.0.0.1")
    for _ in range(12):
        await limiter.acquire(1)
    assert time.waits_s == pytest.approx([0.1, 0.2])


async def test_large_messages_are_limited_by_bytes(time: Time) -> None:
    limiter = RateLimits(1000.0, 10.0, time.clock).of_stream("ipv4:10.0.0.1")
    await limiter.acquire(1500)
    assert time.waits_s == [0.5]


async def test_streams_of_one_address_share_their_number_of_messages(time: Time) -> None:
    rates = RateLimits(1e6, 10.0, time.clock)
    streams = [rates.of_stream("ipv4:10.0.0.1") for _ in range(8)]
    other = rates.of_stream("ipv4:10.0.0.2")
    for stream in streams:
        for _ in range(10):
            await stream.acquire(1)
    assert len(time.waits_s) == 80 - 30
    await other.acquire(1)
    assert len(time.waits_s) == 80 - 30


def test_address_without_streams_is_forgotten(time: Time) -> None:
    rates = RateLimits(1e6, 10.0, time.clock)
    stream = rates.of_stream("ipv4:10.0.0.1")
    assert len(rates._hosts) == 1
    del stream
    assert len(rates._hosts) == 0
