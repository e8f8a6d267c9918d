import asyncio
from typing import Any

import pytest

from common.connections import TcpConnection
from common.wire.stream import StreamBroken
from receiver.link.server import ConnectionLimit, GrpcServerStream


class Context:
    """A stream whose sender does not read."""

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()


async def test_write_to_a_sender_that_does_not_read_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.link.server._WRITE_TIMEOUT_S", 0.01)
    context: Any = Context()
    with pytest.raises(StreamBroken, match=r"the sender does not read \(DEADLINE_EXCEEDED\)"):
        await GrpcServerStream(context).write(b"acknowledgement")


def connections(host: str, *numbers: int) -> list[TcpConnection]:
    return [TcpConnection(number, 0, 50051, (host, number), 0, 0, 0, 0) for number in numbers]


def test_of_too_many_connections_the_oldest_idle_ones_of_the_busiest_host_end() -> None:
    limit = ConnectionLimit(50051, 8, lambda: ["ipv4:10.0.0.7:9", "ipv6:[::ffff:10.0.0.7]:8"])
    assert [*limit.superfluous(connections("10.0.0.7", 9, 8, 7, 6))] == []
    honest, hostile = connections("10.0.0.8", 1), connections("10.0.0.7", 2, 3, 4, 6, 7, 8, 9)
    # 9 and 8 have streams; 7 and 6 were seen before the others.
    assert [each.number for each in limit.superfluous([*honest, *hostile])] == [7, 6, 2, 3]
    assert [*limit.superfluous([*honest, *hostile[:5]])] == []
