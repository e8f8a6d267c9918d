import asyncio
from typing import Any

import pytest

from common.wire.stream import StreamBroken
from receiver.link.grpc_stream import GrpcServerStream


class Context:
    """A stream whose sender does not read."""

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()


async def test_write_to_a_sender_that_does_not_read_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.link.grpc_stream._WRITE_TIMEOUT_S", 0.01)
    context: Any = Context()
    with pytest.raises(StreamBroken, match=r"the sender does not read \(DEADLINE_EXCEEDED\)"):
        await GrpcServerStream(context).write(b"acknowledgement")
