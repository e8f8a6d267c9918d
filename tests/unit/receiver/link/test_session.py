import asyncio
import zlib
from collections.abc import Callable

import pytest

from common.blobs import Blob
from common.clock import Clock
from common.errors import ChecksumMismatch, MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE
from common.wire.convert import Chunk
from common.wire.stream import StreamBroken
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import BlobAssembly, Claim, RateLimits, Session, SessionLimits, SessionUse
from tests.support.link.counting_codec import new_session, settle


def test_leap_is_refused_and_the_session_stays_resumable() -> None:
    session = new_session()
    session.handled(9)
    session.check_leap(10 + 2**31)
    for sequence in (11 + 2**31, MAX_FRAME_SEQUENCE):
        with pytest.raises(MalformedPacket, match="ahead of frame 10"):
            session.check_leap(sequence)
    assert (session.next_sequence, session.decodable_from) == (10, 9)


DATA = b"abcdefgh"


def _first(data: bytes = DATA, *, total: int = len(DATA), checksum: int = zlib.crc32(DATA), blob: int = 1) -> Chunk:
    return Chunk(blob, 0, data, "colours", 7, total, checksum)


def test_chunks_are_assembled_also_behind_an_unfinished_blob_and_from_a_restarted_sender() -> None:
    assembly = BlobAssembly()
    assert assembly.add(_first(DATA[:3])) is None
    assert assembly.add(Chunk(1, 3, DATA[3:])) == Blob("colours", 7, DATA)
    assert assembly.add(_first(DATA[:3], blob=2)) is None
    assert assembly.add(_first(blob=3)) == Blob("colours", 7, DATA)
    restarted = _first(b"other", total=5, checksum=zlib.crc32(b"other"), blob=1)
    assert assembly.add(restarted) == Blob("colours", 7, b"other")


@pytest.mark.parametrize(
    "chunks",
    [
        [_first(DATA[:2]), Chunk(1, 3, b"x")],
        [_first(DATA[:2]), Chunk(2, 2, b"x")],
        [_first(DATA[:2]), Chunk(1, 2, bytes(7))],
        [Chunk(1, 3, b"x")],
        [_first(total=7)],
    ],
    ids=["gap", "another blob", "too long", "without a first chunk", "first chunk too long"],
)
def test_chunks_that_do_not_follow_are_malformed(chunks: list[Chunk]) -> None:
    assembly = BlobAssembly()
    for chunk in chunks[:-1]:
        assembly.add(chunk)
    with pytest.raises(MalformedPacket):
        assembly.add(chunks[-1])


def test_blob_with_a_wrong_checksum_is_dropped() -> None:
    assembly = BlobAssembly()
    with pytest.raises(ChecksumMismatch, match="blob 1 has a wrong checksum"):
        assembly.add(_first(checksum=0))
    assert assembly.add(_first(blob=2)) == Blob("colours", 7, DATA)


class Evictions:
    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def callback(self, number: int) -> Callable[[StreamBroken], None]:
        return lambda reason: self.seen.append((number, reason.code))


async def test_claim_between_release_and_the_next_user_evicts_that_user() -> None:
    use, evictions = SessionUse(), Evictions()
    await use.claim(evictions.callback(1))
    second = asyncio.create_task(use.claim(evictions.callback(2)))
    await settle()
    use.release()
    third = asyncio.create_task(use.claim(evictions.callback(3)))
    await settle()
    assert (await second, third.done()) == (Claim.GRANTED, False)
    assert evictions.seen[-1] == (2, "ABORTED")
    use.release()
    assert await third is Claim.GRANTED


async def test_cancelled_claim_gives_its_turn_back() -> None:
    use = SessionUse()
    for released_first in (False, True):
        await use.claim(lambda _: None)
        waiting = asyncio.create_task(use.claim(lambda _: None))
        await settle()
        if released_first:
            use.release()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not released_first:
            use.release()
        assert not use.active


async def test_close_waits_for_the_present_user_and_refuses_every_claim() -> None:
    use, evictions = SessionUse(), Evictions()
    await use.claim(evictions.callback(1))
    waiting = asyncio.create_task(use.claim(evictions.callback(2)))
    await settle()
    closing = asyncio.create_task(use.close(StreamBroken("RESOURCE_EXHAUSTED", "full")))
    await settle()
    assert not closing.done()
    assert evictions.seen == [(1, "ABORTED"), (1, "RESOURCE_EXHAUSTED")]
    use.release()
    assert await waiting is Claim.CLOSED
    await closing
    unused = SessionUse()
    await unused.close(StreamBroken("ABORTED", "a reason"))
    assert [await each.claim(evictions.callback(3)) for each in (use, unused)] == [Claim.CLOSED] * 2


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
