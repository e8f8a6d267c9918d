import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from common.clock import SYSTEM_CLOCK
from common.wire.stream import StreamBroken
from receiver.link.auth.limits import RateLimits
from receiver.link.grpc_stream import GrpcServerStream

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
