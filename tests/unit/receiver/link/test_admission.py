import asyncio

import pytest

from common.clock import Clock
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import RateLimits, Session, SessionLimits
from tests.support.link.counting_codec import new_session

NOW_S = 100.0


async def session(account: str, *, idle_s: float | None = None) -> Session:
    """A session with a stream, or one without for this long."""
    made = new_session(account=account)
    made.last_message_s = NOW_S
    if idle_s is None:
        await made.claim(lambda _: None)
    else:
        made.last_message_s -= idle_s
    return made


async def sessions(accounts: str) -> list[Session]:
    """Sessions with streams, one per letter."""
    return [await session(account) for account in accounts]


def victim(limits: SessionLimits, newcomer: str, present: list[Session]) -> Session | None:
    return limits.victim(newcomer, present, present, NOW_S)


async def test_longest_idle_session_of_the_largest_account_ends_first_if_there_is_no_room() -> None:
    assert victim(SessionLimits(3, 3), "a", await sessions("aa")) is None
    idle = [await session(account, idle_s=idle_s) for account, idle_s in (("a", 50.0), ("b", 20.0), ("b", 30.0))]
    assert victim(SessionLimits(5, 5), "d", [*idle, *await sessions("bc")]) is idle[2]


async def test_largest_account_yields_its_youngest_session() -> None:
    present = await sessions("abaab")
    assert victim(SessionLimits(5, 5), "c", present) is present[3]
    assert victim(SessionLimits(5, 5), "b", await sessions("aaaaa")) is not None


async def test_shares_that_differ_by_one_are_fair() -> None:
    for present, newcomer in (("ab", "b"), ("abc", "d"), ("aab", "b"), ("aaa", "a")):
        with pytest.raises(StreamRefused, match="full for now: the receiver has") as refused:
            victim(SessionLimits(len(present), 9), newcomer, await sessions(present))
        assert (refused.value.refusal, refused.value.code) == (Refusal.FULL, "RESOURCE_EXHAUSTED")


async def test_sender_that_lost_its_stream_just_now_keeps_its_session() -> None:
    present = [await session("a", idle_s=2.0), *await sessions("b")]
    with pytest.raises(StreamRefused, match="full for now"):
        victim(SessionLimits(2, 9), "c", present)
    # Its own next session may replace it: the sender was started again.
    assert victim(SessionLimits(2, 9), "a", present) is present[0]


async def test_account_with_many_sessions_yields_one_without_a_stream_first() -> None:
    present = [await session("a"), await session("a", idle_s=2.0), await session("a", idle_s=1.0), await session("a")]
    assert victim(SessionLimits(4, 9), "b", present) is present[1]


async def test_account_at_its_limit_replaces_its_own_idle_session_or_is_refused() -> None:
    present = [*await sessions("ab"), await session("a", idle_s=1.0)]
    assert victim(SessionLimits(9, 2), "a", present) is present[2]
    with pytest.raises(StreamRefused, match="full for now: b has 1 session, as many as one sender may have"):
        victim(SessionLimits(9, 1), "b", present)


async def test_session_that_has_not_begun_does_not_end() -> None:
    present = await sessions("aaa")
    assert SessionLimits(3, 9).victim("b", present, present[:2], NOW_S) is present[1]


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
