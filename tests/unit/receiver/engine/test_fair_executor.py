"""Threads in fair turns: accounts before sessions, errors of functions, cancellation."""

import asyncio
import threading

import pytest

from receiver.engine.fair_executor import FairExecutor


async def test_accounts_take_turns() -> None:
    executor, gate, order = FairExecutor(1, "test"), threading.Event(), list[str]()
    first = asyncio.ensure_future(executor.run("other", "other", gate.wait, 10))
    waiting = [
        asyncio.ensure_future(executor.run("hostile", session, order.append, "hostile"))
        for session in range(4)
        for _ in range(2)
    ]
    waiting.append(asyncio.ensure_future(executor.run("honest", "honest", order.append, "honest")))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *waiting)
    executor.shutdown()
    assert order.index("honest") <= 1 and len(order) == 9


async def test_result_and_error_reach_the_caller() -> None:
    executor = FairExecutor(1, "test")
    assert await executor.run("a", "a", int, "12") == 12
    with pytest.raises(ValueError, match="invalid literal"):
        await executor.run("a", "a", int, "x")
    assert await executor.run("a", "a", int, "ff", base=16) == 255
    executor.shutdown()


async def test_cancelled_call_is_not_made_and_its_turn_goes_to_another() -> None:
    executor, gate, order = FairExecutor(1, "test"), threading.Event(), list[str]()
    running = asyncio.ensure_future(executor.run("a", "a", gate.wait, 10))
    cancelled = asyncio.ensure_future(executor.run("b", "b", order.append, "cancelled"))
    kept = asyncio.ensure_future(executor.run("c", "c", order.append, "kept"))
    await asyncio.sleep(0)
    cancelled.cancel()
    running.cancel()
    await asyncio.gather(cancelled, running, return_exceptions=True)
    gate.set()
    await kept
    executor.shutdown()
    assert order == ["kept"]


async def test_thread_is_not_lost_when_a_running_and_a_waiting_call_are_cancelled_at_once() -> None:
    executor, gate, order = FairExecutor(1, "test"), threading.Event(), list[str]()
    running = asyncio.ensure_future(executor.run("a", "a", gate.wait, 10))
    waiting = asyncio.ensure_future(executor.run("a", "a", order.append, "cancelled"))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    ends = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    gate.set()
    await asyncio.wait_for(executor.run("b", "b", order.append, "kept"), 10)
    executor.shutdown()
    assert order == ["kept"]
