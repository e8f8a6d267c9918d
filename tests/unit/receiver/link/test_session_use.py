import asyncio
from collections.abc import Callable

from common.wire.stream import StreamBroken
from receiver.link.session_use import Claim, SessionUse
from tests.support.fake_link import settle

REASON = StreamBroken("ABORTED", "a reason")


class Evictions:
    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def callback(self, number: int) -> Callable[[StreamBroken], None]:
        return lambda reason: self.seen.append((number, reason.code))


async def test_claim_waits_until_the_session_is_released() -> None:
    use, evictions = SessionUse(), Evictions()
    assert await use.claim(evictions.callback(1)) is Claim.GRANTED
    second = asyncio.create_task(use.claim(evictions.callback(2)))
    await settle()
    assert evictions.seen == [(1, "ABORTED")]
    assert not second.done()
    use.release()
    assert await second is Claim.GRANTED
    assert use.active


async def test_newest_claim_supersedes_those_that_wait() -> None:
    use, evictions = SessionUse(), Evictions()
    await use.claim(evictions.callback(0))
    claims = [asyncio.create_task(use.claim(evictions.callback(number))) for number in range(1, 20)]
    await settle()
    assert [claim.result() for claim in claims[:-1]] == [Claim.SUPERSEDED] * 18
    use.release()
    assert await claims[-1] is Claim.GRANTED


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
    assert (await waiting, closing.done()) == (Claim.CLOSED, False)
    assert evictions.seen == [(1, "ABORTED"), (1, "RESOURCE_EXHAUSTED")]
    use.release()
    await closing
    assert await use.claim(evictions.callback(3)) is Claim.CLOSED


async def test_close_of_an_unused_session() -> None:
    use = SessionUse()
    await use.close(REASON)
    assert await use.claim(lambda _: None) is Claim.CLOSED
