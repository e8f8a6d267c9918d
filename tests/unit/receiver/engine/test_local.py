"""The engine in this process: batches across sessions, fair order, isolated failures, clean shutdown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from common.clock import SYSTEM_CLOCK, Clock
from receiver.engine.engine import ReconstructionRequest, RequestWithdrawn
from receiver.engine.reconstructor import LocalEngine
from tests.support.link.counting_codec import until
from tests.support.receiver.fake_reconstructor import FakeReconstructor, label_frame


@asynccontextmanager
async def running(
    reconstructor: FakeReconstructor, batch_people: int = 8, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(reconstructor, batch_people, clock)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        reconstructor.gate.set()
        reconstructor.surface_gate.set()
        await engine.close()


def request(
    session: str, sequence: int = 0, people: int = 1, source: str = "clip.mp4", account: str | None = None
) -> ReconstructionRequest:
    """A request whose session has an account of its own unless one is given."""
    frame = label_frame(sequence, *range(people), source=source)
    return ReconstructionRequest(session if account is None else account, session, frame)


def sessions(reconstructor: FakeReconstructor) -> list[list[str]]:
    return [[str(each.session) for each in batch] for batch in reconstructor.batches]


async def submit(engine: LocalEngine, *requests: ReconstructionRequest) -> list[asyncio.Task[object]]:
    """Tasks whose requests are in the engine's queue, in this order."""
    tasks: list[asyncio.Task[object]] = []
    for each in requests:
        tasks.append(asyncio.ensure_future(engine.reconstruct(each)))
        await asyncio.sleep(0)
    return tasks


async def test_reconstruct_returns_people_in_order_and_times_of_all_stages() -> None:
    async with running(FakeReconstructor()) as engine:
        result = await engine.reconstruct(request("a", people=3))
    assert [person.labels.identity for person in result.people] == [0, 1, 2]
    assert result.stages_ms.keys() == {"queue", "decode", "surface"}
    assert result.stages_ms["queue"] >= 0


async def test_requests_wait_until_the_reconstructor_is_prepared() -> None:
    async with running(reconstructor := FakeReconstructor()) as engine:
        reconstructor.gate.clear()
        preparing = asyncio.ensure_future(engine.prepare())
        (task,) = await submit(engine, request("a"))
        await asyncio.sleep(0)
        assert not preparing.done() and not reconstructor.batches
        reconstructor.gate.set()
        await task
        assert preparing.done()


async def test_frame_without_people_needs_no_pass() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        assert (await engine.reconstruct(request("a", people=0))).people == ()
    assert reconstructor.batches == []


@asynccontextmanager
async def busy(reconstructor: FakeReconstructor, engine: LocalEngine) -> AsyncIterator[None]:
    """Holds the networks back until the end of the block, with one person of session z in them."""
    reconstructor.gate.clear()
    first = await submit(engine, request("z"))
    await until(lambda: not engine._queue)
    yield
    reconstructor.gate.set()
    await asyncio.gather(*first)


async def test_requests_that_wait_are_batched_across_sessions() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor, batch_people=4) as engine:
        async with busy(reconstructor, engine):
            rest = await submit(engine, *(request(name) for name in "abcde"))
        await asyncio.gather(*rest)
    assert sessions(reconstructor) == [["z"], ["a", "b", "c", "d"], ["e"]]


async def test_people_of_one_frame_fill_the_batches_of_a_single_session() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor, batch_people=4) as engine:
        await engine.reconstruct(request("a", people=10))
    assert sessions(reconstructor) == [["a"] * 4, ["a"] * 4, ["a"] * 2]


async def test_large_frame_does_not_delay_another_account() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        reconstructor.gate.clear()
        crowds = await submit(engine, *(request(f"crowd {n}", people=32, account="hostile") for n in range(8)))
        await until(lambda: len(engine._queue) < 8 * 32)
        live = await submit(engine, request("live"))
        reconstructor.gate.set()
        await asyncio.gather(*live)
        assert not any(task.done() for task in crowds)
        await asyncio.gather(*crowds)
    order = [name for batch in sessions(reconstructor) for name in batch]
    # One pass was on its way; in the next one, both accounts have one person.
    assert order.index("live") <= 8 + 1


@pytest.mark.parametrize("account", [None, "studio"])
async def test_active_session_leaves_room_in_the_pass_for_others(account: str | None) -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        await engine.reconstruct(request("live", account=account))
        await engine.reconstruct(request("crowd", people=3, account=account))
    assert sessions(reconstructor)[:2] == [["live"], ["crowd"]]


async def test_others_do_not_fill_the_pass_behind_one_that_took_long() -> None:
    reconstructor = FakeReconstructor()
    a_second_each = replace(SYSTEM_CLOCK, monotonic=lambda: float(len(reconstructor.batches)))
    async with running(reconstructor, clock=a_second_each) as engine:
        async with busy(reconstructor, engine):
            rest = await submit(engine, request("live"), request("crowd", people=12))
        await asyncio.gather(*rest)
    assert sessions(reconstructor)[1:3] == [["live", "crowd"], ["crowd"]]


async def test_account_does_not_fill_the_engine_while_another_is_active() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        await engine.reconstruct(request("live"))
        reconstructor.surface_gate.clear()
        crowds = await submit(engine, *(request(f"crowd {n}", people=3, account="hostile") for n in range(3)))
        await until(lambda: len(reconstructor.batches) == 2 and not engine._changed.is_set())
        assert len(engine._begun) == 1
        live = await submit(engine, request("live", 1))
        await until(lambda: len(reconstructor.batches) == 3)
        assert sessions(reconstructor)[2] == ["live"]
        reconstructor.surface_gate.set()
        await asyncio.gather(*live, *crowds)
        assert not engine._begun


async def test_bad_person_fails_the_frame_and_frees_its_place() -> None:
    reconstructor = FakeReconstructor(bad_source="bad.mp4")
    async with running(reconstructor, batch_people=2) as engine:
        bad, good = await submit(engine, request("b", people=32, source="bad.mp4"), request("a", people=2))
        with pytest.raises(ValueError, match="too long"):
            await bad
        await good
        assert not engine._queue and not engine._frames
    assert sum(batch.count("b") for batch in sessions(reconstructor)) < 8


async def test_withdrawn_and_cancelled_requests_are_not_reconstructed() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor) as engine:
        async with busy(reconstructor, engine):
            withdrawn = request("b", people=4)
            waiting, kept, cancelled = await submit(engine, withdrawn, request("c"), request("d", people=32))
            engine.withdraw(request("c"))
            engine.withdraw(withdrawn)
            with pytest.raises(RequestWithdrawn):
                await waiting
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            assert len(engine._queue) == 1
        await kept
    assert sessions(reconstructor) == [["z"], ["c"]]


async def test_request_whose_reconstruction_has_begun_is_finished() -> None:
    reconstructor = FakeReconstructor()
    async with running(reconstructor, batch_people=2) as engine:
        reconstructor.gate.clear()
        begun = request("a", people=6)
        (task,) = await submit(engine, begun)
        await until(lambda: len(engine._queue) == 4)
        engine.withdraw(begun)
        reconstructor.gate.set()
        result = await engine.reconstruct(request("b"))
        assert len(result.people) == 1
        await task
    assert sum(batch.count("a") for batch in sessions(reconstructor)) == 6


async def test_close_finishes_accepted_requests_and_refuses_new_ones() -> None:
    reconstructor = FakeReconstructor()
    engine = LocalEngine(reconstructor)  # type: ignore[arg-type]
    tasks = await submit(engine, *(request("a", number) for number in range(5)))
    await engine.close()
    assert all(task.done() and task.exception() is None for task in tasks)
    with pytest.raises(RuntimeError, match="closed"):
        await engine.reconstruct(request("a"))


async def test_close_without_any_request() -> None:
    await LocalEngine(FakeReconstructor()).close()  # type: ignore[arg-type]
