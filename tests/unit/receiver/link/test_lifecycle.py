"""Who may use which session, and that the handler sees each begin and each end once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from common.clock import Clock
from common.errors import OutputError
from common.wire.convert import Hello
from common.wire.stream import StreamBroken
from receiver.link.auth.authenticator import PeerIdentity
from receiver.link.lifecycle import SessionLifecycle
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import Claim, Session, SessionLimits
from tests.support.link.counting_codec import MODEL, settle
from tests.support.link.owned_sessions import OwnedPipeline, OwnedSessions

HOST = "ipv4:10.0.0.7"
STUDIO, CAMERA = (PeerIdentity(f"token:{name}", HOST, "token") for name in ("studio", "camera"))
NOBODY = PeerIdentity("", HOST)
KEEP_S = 300.0
SECRET, OTHER_SECRET = b"\x01" * 32, b"\x02" * 32


def hello(number: int = 1, secret: bytes = SECRET, *, resume: bool = False, durable: bool = False) -> Hello:
    return Hello(
        bytes([number]) * 16, f"{number}", 1, MODEL, False, resume=resume, durable=durable, session_secret=secret
    )


class Fixture:
    """A lifecycle whose clock the test moves."""

    def __init__(self, disk: OwnedSessions | None = None, *, total: int = 64, per_account: int = 64) -> None:
        self.now_s = 0.0
        self.disk = disk or OwnedSessions()
        self.pipeline = OwnedPipeline(self.disk)
        clock = Clock(lambda: self.now_s, lambda: 0.0)
        self.lifecycle = SessionLifecycle(self.pipeline, SessionLimits(total, per_account), clock)

    async def connect(
        self, message: Hello, who: PeerIdentity = NOBODY, evict: Callable[[StreamBroken], None] = lambda _: None
    ) -> Session:
        """A stream that uses the session."""
        session, _ = await self.lifecycle.open(message, who)
        assert await session.claim(evict) is Claim.GRANTED
        return session

    async def refused(self, message: Hello, who: PeerIdentity = NOBODY) -> StreamRefused:
        with pytest.raises(StreamRefused) as refused:
            await self.lifecycle.open(message, who)
        return refused.value


# What the owner did before the thief says Hello: each leaves the session in another state.
async def _online(fixture: Fixture, owner: PeerIdentity) -> Fixture:
    await fixture.connect(hello(), owner)
    return fixture


async def _offline(fixture: Fixture, owner: PeerIdentity) -> Fixture:
    (await fixture.connect(hello(), owner)).release()
    return fixture


async def _drained(fixture: Fixture, owner: PeerIdentity) -> Fixture:
    session = await fixture.connect(hello(), owner)
    session.release()
    await fixture.lifecycle.end(session)
    return fixture


async def _expired(fixture: Fixture, owner: PeerIdentity) -> Fixture:
    await _offline(fixture, owner)
    fixture.now_s += KEEP_S + 1
    return fixture


async def _restarted(fixture: Fixture, owner: PeerIdentity) -> Fixture:
    await _offline(fixture, owner)
    await fixture.lifecycle.close()
    return Fixture(fixture.disk)


BEFORE = (_online, _offline, _drained, _expired, _restarted)
Before = Callable[[Fixture, PeerIdentity], Awaitable[Fixture]]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("owner", "thief", "secret"),
    [
        pytest.param(STUDIO, CAMERA, OTHER_SECRET, id="another token"),
        pytest.param(STUDIO, CAMERA, SECRET, id="another token, right secret"),
        pytest.param(STUDIO, NOBODY, SECRET, id="no token, right secret"),
        pytest.param(STUDIO, STUDIO, OTHER_SECRET, id="right token, another secret"),
        pytest.param(NOBODY, NOBODY, OTHER_SECRET, id="no tokens, another secret"),
    ],
)
async def test_theft_is_refused_in_every_state(
    before: Before, resume: bool, owner: PeerIdentity, thief: PeerIdentity, secret: bytes
) -> None:
    fixture = await before(Fixture(), owner)
    for _ in range(2):
        refused = await fixture.refused(hello(secret=secret, resume=resume), thief)
        assert (refused.refusal, refused.code) == (Refusal.OWNER, "PERMISSION_DENIED")
        assert refused.reason == "the session belongs to another sender"
    session, _ = await fixture.lifecycle.open(hello(resume=True), owner)
    assert session.owner.subject == owner.subject
    assert (fixture.pipeline.peers, fixture.lifecycle.sessions) == (1, [session])


async def test_theft_is_refused_while_the_session_begins() -> None:
    fixture = Fixture()
    fixture.pipeline.opening.clear()
    owner = asyncio.create_task(fixture.connect(hello(), STUDIO))
    await settle()
    thief = asyncio.create_task(fixture.refused(hello(), CAMERA))
    await settle()
    fixture.pipeline.opening.set()
    assert (await thief).refusal is Refusal.OWNER
    assert (await owner).in_use


async def test_theft_does_not_disturb_the_owners_stream() -> None:
    fixture = Fixture()
    evictions: list[StreamBroken] = []
    session = await fixture.connect(hello(), STUDIO, evictions.append)
    session.last_message_s = -1.0
    refused = await fixture.refused(hello(secret=OTHER_SECRET), CAMERA)
    assert refused.detail == "session 01010101 belongs to token:studio (1)"
    assert (evictions, session.in_use, session.last_message_s) == ([], True, -1.0)


async def test_owner_from_another_address_keeps_the_session_and_its_account() -> None:
    fixture = Fixture()
    await fixture.connect(hello())
    session, known = await fixture.lifecycle.open(hello(resume=True), PeerIdentity("", "ipv4:192.168.0.9"))
    assert (known, session.account) == (True, HOST)


async def test_session_does_not_become_durable() -> None:
    fixture = Fixture()
    await fixture.connect(hello())
    assert (await fixture.refused(hello(durable=True))).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("timely", [True, False])
async def test_session_stays_timely_or_not_as_its_first_hello_says(timely: bool) -> None:
    fixture = Fixture()
    session = await fixture.connect(replace(hello(), timely=timely))
    assert session.timely == timely
    again, known = await fixture.lifecycle.open(replace(hello(resume=True), timely=not timely), NOBODY)
    assert known and again.timely == timely


async def test_twenty_hellos_at_once_begin_one_session() -> None:
    fixture = Fixture()
    opened = await asyncio.gather(*(fixture.lifecycle.open(hello(), NOBODY) for _ in range(20)))
    assert len({id(session) for session, _ in opened}) == 1
    assert [known for _, known in opened].count(False) == 1
    assert fixture.pipeline.peers == 1


@pytest.mark.parametrize("failure", [OutputError("disk full"), ValueError("a bug")])
async def test_session_that_cannot_begin_is_forgotten(failure: Exception) -> None:
    fixture = Fixture()
    fixture.pipeline.failure = failure
    for _ in range(2):
        with pytest.raises(type(failure)):
            await fixture.lifecycle.open(hello(), NOBODY)
    assert fixture.lifecycle.sessions == []
    fixture.pipeline.failure = None
    await fixture.connect(hello())
    assert fixture.pipeline.peers == 1


async def test_hello_whose_stream_ends_while_the_session_begins() -> None:
    fixture = Fixture()
    fixture.pipeline.opening.clear()
    first = asyncio.create_task(fixture.lifecycle.open(hello(), NOBODY))
    await settle()
    first.cancel()
    second = asyncio.create_task(fixture.connect(hello()))
    await settle()
    fixture.pipeline.opening.set()
    assert (await second).in_use
    assert fixture.pipeline.events == ["begin 1"]


async def test_expired_session_ends_before_it_begins_again() -> None:
    fixture = Fixture()
    session = await fixture.connect(hello())
    session.release()
    fixture.now_s = KEEP_S + 1
    assert await fixture.connect(hello(resume=True)) is not session
    assert fixture.pipeline.events == ["begin 1", "end 1", "begin 1"]


async def test_session_does_not_expire_while_a_claim_waits() -> None:
    fixture = Fixture()
    session = await fixture.connect(hello())
    waiting = asyncio.create_task(fixture.connect(hello()))
    await settle()
    fixture.now_s = KEEP_S + 1
    session.release()
    await fixture.lifecycle.open(hello(2), NOBODY)
    assert await waiting is session
    assert fixture.pipeline.events == ["begin 1", "begin 2"]


async def test_drain_of_a_session_that_another_stream_has_claimed() -> None:
    fixture = Fixture()
    session = await fixture.connect(hello())
    second = asyncio.create_task(fixture.connect(hello()))
    await settle()
    session.release()
    await fixture.lifecycle.end(session)
    assert await second is session
    assert fixture.lifecycle.sessions == [session]
    session.release()
    await fixture.lifecycle.end(session)
    await fixture.lifecycle.end(session)
    assert (fixture.pipeline.events, fixture.lifecycle.sessions) == (["begin 1", "end 1"], [])


async def test_full_receiver_evicts_the_youngest_session_of_the_largest_account() -> None:
    fixture = Fixture(total=3)
    reasons: list[StreamBroken] = []
    for number in (1, 2):
        await fixture.connect(hello(number), CAMERA)
    session = await fixture.connect(hello(3), CAMERA, reasons.append)
    newcomer = asyncio.create_task(fixture.connect(hello(4), STUDIO))
    await settle()
    assert [reason.code for reason in reasons] == ["RESOURCE_EXHAUSTED"]
    assert reasons[0].reason.startswith("full for now")
    # The handler never has more sessions than the limit: the newcomer waits for the present frame of the evicted one.
    assert fixture.pipeline.events == ["begin 1", "begin 2", "begin 3"]
    session.release()
    await newcomer
    assert fixture.pipeline.events[3:] == ["end 3", "begin 4"]
    refused = await fixture.refused(hello(3), CAMERA)
    assert refused.reason == "full for now: the receiver has 3 sessions, as many as its --max-sessions allows"


async def test_close_while_sessions_begin_and_end() -> None:
    fixture = Fixture()
    busy = await fixture.connect(hello(1))
    fixture.pipeline.opening.clear()
    beginning = asyncio.create_task(fixture.lifecycle.open(hello(2), NOBODY))
    await settle()
    closing = asyncio.create_task(fixture.lifecycle.close())
    await settle()
    with pytest.raises(StreamBroken, match="stopping"):
        await fixture.lifecycle.open(hello(3), NOBODY)
    fixture.pipeline.opening.set()
    await beginning
    await settle()
    assert not closing.done()
    busy.release()
    await closing
    assert (fixture.pipeline.peers, fixture.lifecycle.sessions) == (0, [])


@pytest.mark.parametrize("seed", range(8))
async def test_gauge_and_sessions_stay_in_step(seed: int) -> None:
    """Streams of four sessions connect, end, drain, expire and are cancelled at random, with room for three."""
    rng, fixture = random.Random(seed), Fixture(total=3, per_account=3)

    async def stream() -> None:
        number, taken = rng.randrange(4), asyncio.Event()
        who = PeerIdentity("", f"ipv4:10.0.0.{number % 2}")
        try:
            session, _ = await fixture.lifecycle.open(hello(number), who)
            if await session.claim(lambda _: taken.set()) is not Claim.GRANTED:
                return
        except StreamBroken:
            return
        try:
            async with asyncio.timeout(rng.random() / 100):
                await taken.wait()
        except TimeoutError:
            pass
        finally:
            session.release()
        if rng.random() < 0.3:
            await fixture.lifecycle.end(session)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(150):
        tasks.append(asyncio.create_task(stream()))
        if rng.random() < 0.2:
            rng.choice(tasks).cancel()
        fixture.now_s += rng.random()
        await asyncio.sleep(rng.random() / 1000)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(fixture.pipeline.present) == fixture.pipeline.peers == len(fixture.lifecycle.sessions) <= 3
    await fixture.lifecycle.close()
    assert fixture.pipeline.peers == 0


async def test_live_session_without_computing_time_is_refused_and_ends_no_other() -> None:
    fixture = Fixture(total=1, per_account=1)

    def no_time() -> None:
        raise StreamRefused(Refusal.BUSY, "full for now")

    (await fixture.connect(hello(1))).release()
    fixture.lifecycle = SessionLifecycle(
        fixture.pipeline, SessionLimits(1, 1), Clock(lambda: fixture.now_s, lambda: 0.0), no_time
    )
    fixture.now_s = 100.0
    assert (await fixture.refused(replace(hello(2), live=True))).refusal is Refusal.BUSY
    assert fixture.pipeline.events == ["begin 1"]
    await fixture.connect(hello(2))
    assert "begin 2" in fixture.pipeline.events
