"""The process that makes what visitors ask for: whose time it takes, what it says, and how it ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress

import pytest

from common.errors import OutputError, UsageError
from receiver.web.children.workshop import Workshop
from receiver.web.places import Refused
from tests.support.link.counting_codec import until

ANNA, BERT = (True, "Anna"), (True, "Bert")


@pytest.fixture
async def workshop() -> AsyncIterator[Workshop]:
    opened = Workshop("statues")
    yield opened
    await opened.aclose()


def process() -> Iterator[bytes]:
    print("libraries say what they like")
    yield f"{os.getpid()} {os.nice(0)}".encode()


def nothing() -> Iterator[bytes]:
    yield from ()


def without_end() -> Iterator[bytes]:
    while True:
        yield str(os.getpid()).encode()


def failing(error: Exception) -> Iterator[bytes]:
    yield b"begun"
    raise error


def dying() -> Iterator[bytes]:
    os._exit(7)
    yield b""


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_one_process_of_low_priority_makes_everything(workshop: Workshop) -> None:
    answers = await asyncio.gather(*(workshop.made(who, None, process) for who in (ANNA, ANNA, BERT)))
    assert len(set(answers)) == 1 and answers[0] is not None
    pid, nice = map(int, answers[0].split())
    assert pid != os.getpid() and nice >= min(os.nice(0) + 10, 19)
    assert await workshop.made(ANNA, None, nothing) is None
    await workshop.aclose()
    assert not is_alive(pid)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OutputError("no room"), UsageError, "no room"),
        (ValueError("no body"), ValueError, "no body"),
        (KeyError("x"), Refused, "its log says why"),
    ],
)
async def test_error_of_the_work_is_said_and_the_process_goes_on(
    workshop: Workshop, error: Exception, kind: type[Exception], text: str
) -> None:
    before = await workshop.made(ANNA, None, process)
    with pytest.raises(kind, match=text):
        await workshop.made(ANNA, None, failing, error)
    assert await workshop.made(ANNA, None, process) == before


async def test_process_that_dies_is_replaced(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Refused, match="its log says why") as refused:
        await workshop.made(ANNA, None, dying)
    assert refused.value.status == 503 and "the process for statues has ended" in caplog.text
    assert await workshop.made(ANNA, None, process)


async def test_work_without_end_ends_with_who_reads_it(workshop: Workshop) -> None:
    async with aclosing(workshop.parts(ANNA, without_end)) as parts:
        pid = int(await anext(parts))
    await until(lambda: not is_alive(pid))
    asked = asyncio.create_task(workshop.made(ANNA, None, without_end))
    waiting = asyncio.create_task(workshop.made(BERT, None, process))
    await asyncio.sleep(0)
    asked.cancel()
    assert await waiting


async def test_work_that_takes_too_long_is_given_up() -> None:
    workshop = Workshop("statues", longest_s=0.0)
    with pytest.raises(Refused, match="use receiver export"):
        await workshop.made(ANNA, None, process)


async def test_what_is_kept_needs_no_place_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.children.workshop._KEPT_BYTES", 5_000)
    async with aclosing(Workshop("statues", waiting=1)) as workshop:
        for key in range(8):
            await workshop.made(ANNA, key, process)
            assert workshop.keeps(key)
        assert not workshop.keeps(0)
        reading = workshop.parts(BERT, without_end)
        await anext(reading)
        assert await workshop.made(ANNA, 7, process)
        with pytest.raises(Refused, match="too many statues"):
            await workshop.made(ANNA, 8, process)
        await reading.aclose()
