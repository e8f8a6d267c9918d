import asyncio

import pytest

from common.clock import Clock
from receiver.link.auth.limits import RateLimits, TokenBucket


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


def test_bucket_waits_after_a_burst_of_one_second(time: Time) -> None:
    bucket = TokenBucket(10.0, time.clock)
    assert [bucket.take(5) for _ in range(3)] == [0.0, 0.0, 0.5]
    time.now_s = 100.0
    assert [bucket.take(10), bucket.take(1)] == [0.0, pytest.approx(0.1)]


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
