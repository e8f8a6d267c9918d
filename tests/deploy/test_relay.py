"""The relay of deploy/compose.yaml."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from deploy.relay.relay import Direction, Link, Relay, change, listening, parse_delay, parse_rate


@pytest.mark.parametrize(
    ("text", "bps"), [("256kbit", 256e3), ("1.5mbit", 1.5e6), ("800bit", 800.0), ("2GBIT", 2e9), ("unlimited", None)]
)
def test_rates(text: str, bps: float | None) -> None:
    assert parse_rate(text) == bps


@pytest.mark.parametrize("text", ["", "0kbit", "-1kbit", "256", "256kbps", "1e3kbit", "nan", "inf mbit"])
def test_wrong_rates(text: str) -> None:
    with pytest.raises(ValueError, match="256kbit"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "50", "5s", "-1ms", "10001ms"])
def test_wrong_delays(text: str) -> None:
    with pytest.raises(ValueError, match="50ms"):
        parse_delay(text)


def test_bytes_leave_at_the_rate_of_the_link_behind_those_that_have_not_left() -> None:
    now_s = [10.0]
    direction = Direction(Link(8000.0, 0.0), lambda: now_s[0])
    assert direction.queue_s == 0.0
    assert [direction.send(1000), direction.send(500)] == [11.0, 11.5]
    now_s[0] = 10.2
    assert direction.queue_s == pytest.approx(1.3)
    now_s[0] = 20.0
    assert direction.send(1000) == 21.0


def test_changed_rate_holds_for_what_comes_next() -> None:
    link = Link(8000.0, 0.0)
    direction = Direction(link, lambda: 0.0)
    direction.send(1000)
    assert change(link, ["rate", "16kbit"]) == "16 kbit/s in each direction, delay 0 ms"
    assert direction.send(1000) == 1.5
    assert change(link, ["rate", "unlimited"]) == "unlimited in each direction, delay 0 ms"
    assert direction.send(10**9) == 0.0


@pytest.mark.parametrize("command", [[], ["rate"], ["stop"], ["rate", "1mbit", "2mbit"]])
def test_unknown_command(command: list[str]) -> None:
    with pytest.raises(ValueError, match="rate, delay or status"):
        change(Link(None, 0.0), command)


class Sender(asyncio.DatagramProtocol):
    """Sends datagrams to the relay; `answers` are those that came back."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.answers.put_nowait(data)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data[::-1], addr)


async def test_datagrams_of_each_sender_are_answered_and_a_long_queue_loses_some() -> None:
    loop, link = asyncio.get_running_loop(), Link(None, 0.0)
    target, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    relay = Relay(link, target.get_extra_info("sockname"))
    listening, _ = await loop.create_datagram_endpoint(lambda: relay.datagrams, local_addr=("127.0.0.1", 0))
    address = listening.get_extra_info("sockname")
    senders = [(await loop.create_datagram_endpoint(Sender, remote_addr=address))[1] for _ in range(2)]
    async with asyncio.timeout(10):
        for sender, data in zip(senders, (b"one", b"two"), strict=True):
            sender.transport.sendto(data)
        assert [await sender.answers.get() for sender in senders] == [b"eno", b"owt"]
        link.rate_bps = 8 * 12_800.0
        # Each takes a tenth of a second: with six, the next ones would wait for longer than half a second.
        for _ in range(20):
            senders[0].transport.sendto(bytes(1252))
        for _ in range(6):
            await senders[0].answers.get()
    await asyncio.sleep(0.5)
    assert senders[0].answers.qsize() <= 1
    for transport in (listening, target, *(sender.transport for sender in senders)):
        transport.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def relayed(handler: Handler | None) -> AsyncIterator[tuple[str, int]]:
    """A relay before a server, or before nobody; yields the relay's address."""
    with listening(("127.0.0.1", 0)) as unused:
        target = unused.getsockname()
    answering = await asyncio.start_server(handler, *target) if handler else None
    with listening(("127.0.0.1", 0)) as server:
        relaying = asyncio.create_task(Relay(Link(None, 0.0), target).serve(server))
        yield server.getsockname()
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
    if answering:
        answering.close()


async def test_relay_passes_bytes_in_both_directions_until_both_ends_have_finished() -> None:
    received: list[bytes] = []

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.write(received[0][::-1])
        await writer.drain()
        writer.close()

    async with relayed(answer_at_the_end) as address:
        reader, writer = await asyncio.open_connection(*address)
        sent = bytes(range(256)) * 400
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent[::-1]
        assert received == [sent]
        writer.close()
        await writer.wait_closed()


async def test_connection_that_is_reset_is_reset_at_the_other_end_too(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
        ended.set()
        writer.close()

    async with relayed(wait_for_the_end) as address:
        for _ in range(2):  # it goes on to accept connections
            ended.clear()
            _, writer = await asyncio.open_connection(*address)
            writer.write(b"something")
            await writer.drain()
            reset = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()
            async with asyncio.timeout(10):
                await ended.wait()
    assert caplog.records == []


async def test_connection_ends_when_the_target_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    async with relayed(None) as address:
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        writer.close()
    assert "cannot reach 127.0.0.1" in capsys.readouterr().err
