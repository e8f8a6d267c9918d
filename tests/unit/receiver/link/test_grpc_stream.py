import asyncio
from typing import Any

import pytest

from common.clock import SYSTEM_CLOCK
from common.wire.stream import StreamBroken
from receiver.link.auth.limits import RateLimits
from receiver.link.grpc_stream import GrpcServerStream


class FullContext:
    """A stream whose sender does not read."""

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()


async def test_write_to_a_sender_that_does_not_read_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.link.grpc_stream._WRITE_TIMEOUT_S", 0.01)
    context: Any = FullContext()
    stream = GrpcServerStream(context, RateLimits(1e6, 1e3, SYSTEM_CLOCK).of_stream("host"))
    with pytest.raises(StreamBroken, match=r"the sender does not read \(DEADLINE_EXCEEDED\)"):
        await stream.write(b"acknowledgement")
