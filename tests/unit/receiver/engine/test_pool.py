"""The engine in front of a pool: batches in bounds, retries, a pool that is lost and comes back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common.clock import Clock
from receiver.engine import pool as engine_module
from receiver.engine.engine import PersonAppearance, Priority, ReconstructionRequest, RequestWithdrawn
from receiver.engine.observer import EngineObserver
from receiver.engine.pool import PoolEngine, PoolFull, ReplicaLost
from receiver.texture.received_texture import ReceivedTexture
from tests.support.link.counting_codec import settle, until
from tests.support.receiver.fake_pool import FakePool
from tests.support.receiver.fake_reconstructor import SKELETON, label_frame


class Observer(EngineObserver):
    """Records what the engine reports."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.replicas: list[int] = []
        self.waited_s: list[float] = []
        self.served_s: list[float] = []
        self.retries = 0

    def batch_taken(self, people: int) -> None:
        self.batches.append(people)

    def person_taken(self, waited_s: float) -> None:
        self.waited_s.append(waited_s)

    def person_finished(self, served_s: float) -> None:
        self.served_s.append(served_s)

    def batch_retried(self) -> None:
        self.retries += 1

    def replicas_running(self, count: int) -> None:
        self.replicas.append(count)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_RETRY_WAIT_S", 0.0)
    monkeypatch.setattr(engine_module, "_WATCH_INTERVAL_S", 0.0)


@asynccontextmanager
async def running(pool: FakePool, observer: Observer | None = None, batch_people: int = 8) -> AsyncIterator[PoolEngine]:
    engine = PoolEngine(pool, batch_people, observer=observer)
    await engine.start()
    try:
        yield engine
    finally:
        closing = asyncio.ensure_future(engine.close())
        while not closing.done():
            for batch in pool.batches:
                batch.finish()
            await asyncio.sleep(0)
        await closing


def request(source: str, people: int = 1, priority: Priority = Priority.LIVE, **more: Any) -> ReconstructionRequest:
    return ReconstructionRequest(
        source, source, label_frame(0, *range(people), source=source), priority=priority, **more
    )


def submit(engine: PoolEngine, *requests: ReconstructionRequest) -> list[asyncio.Future[Any]]:
    return [asyncio.ensure_future(engine.reconstruct(each)) for each in requests]


async def in_hand(engine: PoolEngine, pool: FakePool, *requests: ReconstructionRequest) -> list[asyncio.Future[Any]]:
    """Submits requests, and waits until the pool has a batch of them."""
    before, tasks = len(pool.batches), submit(engine, *requests)
    await until(lambda: len(pool.batches) > before)
    return tasks


async def test_replica_has_two_batches_and_the_others_wait_here() -> None:
    async with running(pool := FakePool(), observer := Observer(), batch_people=2) as engine:
        submit(engine, request("a", people=9))
        await until(lambda: len(pool.batches) == 2)
        await settle()
        assert (len(pool.batches), engine.queued_people) == (2, 5)
        pool.batches[0].finish()
        await until(lambda: len(pool.batches) == 3)
    assert observer.batches == [2, 2, 2, 2, 1]


async def test_observer_gets_the_times_in_the_queue_and_in_service() -> None:
    now = [100.0]
    clock = Clock(monotonic=lambda: now[0], wall=lambda: 0.0)
    pool, observer = FakePool(running=0), Observer()
    engine = PoolEngine(pool, clock=clock, observer=observer)
    await engine.start()
    (task,) = submit(engine, request("a", people=2))
    await settle()
    now[0] = 103.0
    pool.running = 1
    await until(lambda: bool(pool.batches))
    assert observer.waited_s == [3.0, 3.0]
    now[0] = 103.5
    pool.batches[0].finish()
    await task
    await engine.close()
    assert observer.served_s == [0.5, 0.5]


async def test_pool_that_may_grow_gets_more_than_it_can_begin() -> None:
    async with running(pool := FakePool(most_replicas=3), batch_people=1) as engine:
        submit(engine, request("a", people=9))
        await until(lambda: len(pool.batches) == 4)
        await settle()
        assert len(pool.batches) == 4


async def test_people_are_spread_over_idle_replicas() -> None:
    async with running(pool := FakePool(running=2, most_replicas=2)) as engine:
        await until(lambda: engine._replicas == 2)
        submit(engine, request("a", people=8))
        await until(lambda: len(pool.batches) == 2)
        assert [len(batch.work) for batch in pool.batches] == [4, 4]


@pytest.mark.parametrize(("busy_s", "people"), [(0.05, 3), (0.07, 2), (0.083, 2), (0.11, 1), (1.0, 1)])
async def test_slow_replica_gets_small_batches(busy_s: float, people: int) -> None:
    async with running(pool := FakePool()) as engine:
        (first,) = await in_hand(engine, pool, request("a"))
        pool.batches[0].finish(busy_s=busy_s)
        await first
        submit(engine, request("a", people=8))
        await until(lambda: len(pool.batches) == 3)
        assert [len(batch.work) for batch in pool.batches] == [1, people, people]


async def test_lost_batch_is_reconstructed_by_another_replica() -> None:
    async with running(pool := FakePool(running=2, most_replicas=2), observer := Observer()) as engine:
        (task,) = await in_hand(engine, pool, request("a"))
        pool.batches[0].fail()
        await until(lambda: len(pool.batches) == 2)
        pool.batches[1].finish()
        assert len((await task).people) == 1
    assert observer.retries == 1


async def test_person_with_whom_every_replica_ends_fails_alone() -> None:
    async with running(pool := FakePool(), observer := Observer()) as engine:
        good, bad = submit(engine, request("good"), request("bad"))
        while not (good.done() and bad.done()):
            await asyncio.sleep(0)
            for batch in pool.batches:
                if not batch.answer.done():
                    batch.fail() if "bad" in batch.sources else batch.finish()
        assert len(good.result().people) == 1
        assert isinstance(bad.exception(), ReplicaLost)
    assert [batch.sources for batch in pool.batches] == [["good", "bad"], ["good", "bad"], ["good"], ["bad"]]
    assert observer.retries == 2


async def test_full_pool_is_asked_again_and_costs_no_attempt() -> None:
    async with running(pool := FakePool(errors=[PoolFull("full")] * 5), observer := Observer()) as engine:
        (task,) = await in_hand(engine, pool, request("a"))
        pool.batches[0].finish()
        await task
    assert observer.retries == 0


async def test_error_of_one_person_fails_that_frame_alone() -> None:
    async with running(pool := FakePool()) as engine:
        bad, good = await in_hand(engine, pool, request("bad"), request("good"))
        pool.batches[0].finish_with(ValueError("too long"), ValueError("not this one"))
        with pytest.raises(ValueError, match="too long"):
            await bad
        with pytest.raises(ValueError, match="not this one"):
            await good


async def test_unexpected_error_reaches_the_caller_without_a_retry() -> None:
    async with running(pool := FakePool(), observer := Observer()) as engine:
        (task,) = await in_hand(engine, pool, request("a"))
        pool.batches[0].fail(TypeError("a bug"))
        with pytest.raises(TypeError, match="a bug"):
            await task
    assert observer.retries == 0 and engine._begun == []


async def test_lost_pool_keeps_frames_and_lets_late_ones_go(caplog: pytest.LogCaptureFixture) -> None:
    async with running(pool := FakePool(), observer := Observer()) as engine:
        live, begun, complete = request("live"), request("begun"), request("complete")
        (second,) = await in_hand(engine, pool, begun)
        engine.withdraw(begun)
        await settle()
        assert not second.done(), "a request that has begun is finished"
        pool.running = 0
        await until(lambda: second.done())
        first, third = submit(engine, live, complete)
        await settle()
        engine.withdraw(live)
        for task in (first, second):
            with pytest.raises(RequestWithdrawn):
                await task
        assert len(pool.batches) == 1 and not third.done()
        assert engine.capacity() == 0
        pool.running = 1
        await until(lambda: len(pool.batches) == 2)
        assert pool.batches[1].sources == ["complete"]
        pool.batches[1].finish()
        await third
    assert observer.replicas == [1, 0, 1]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


async def test_close_while_the_pool_is_lost_fails_what_waits() -> None:
    async with running(pool := FakePool()) as engine:
        (begun,) = await in_hand(engine, pool, request("begun"))
        pool.running = 0
        await until(lambda: engine._lost)
        (waiting,) = submit(engine, request("waiting"))
        await settle()
        async with asyncio.timeout(10):
            await engine.close()
        for task in (begun, waiting):
            with pytest.raises(ReplicaLost):
                await task


async def test_textures_are_shared_once_as_long_as_the_object_is_the_same() -> None:
    textures = [ReceivedTexture() for _ in range(2)]
    async with running(pool := FakePool()) as engine:
        for each in (textures[0], textures[0], textures[1]):
            (task,) = submit(engine, request("a", appearance={0: PersonAppearance(each)}))
            await until(lambda: bool(pool.batches) and not pool.batches[-1].answer.done())
            pool.batches[-1].finish()
            await task
    assert [reference.value for reference in pool.shared] == textures
    references = [batch.work[0].texture for batch in pool.batches]
    assert references[0] is references[1] is not references[2]


async def test_capacity_is_that_of_busy_replicas() -> None:
    async with running(pool := FakePool(running=3, most_replicas=3)) as engine:
        await until(lambda: engine._replicas == 3)
        assert engine.capacity() == pytest.approx(3 * 10), "assumed before the first batch"
        assert engine.skeleton is SKELETON
        (task,) = await in_hand(engine, pool, request("a"))
        pool.batches[0].finish(busy_s=0.1)
        await task
        assert engine.capacity() == pytest.approx(30)
