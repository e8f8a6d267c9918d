"""A relay that carries only so many bits a second, and delays them: the bad link between two nodes.

    python relay.py serve --listen 0.0.0.0:50051 --target receiver:50051 --rate 48kbit --delay 20ms
    python relay.py rate 256kbit        # of the relay that runs, in each direction; or: unlimited
    python relay.py delay 100ms         # one way
    python relay.py status

It relays TCP (gRPC) and UDP (QUIC) on the same port, without looking at what is in them: encryption runs from end to
end. Both share the link, on which packets have their headers. It needs nothing but Python. The commands reach the relay
through the Unix socket that RELAY_CONTROL names.
"""

import argparse
import asyncio
import contextlib
import math
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_UNITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_CONTROL = os.environ.get("RELAY_CONTROL", "/tmp/relay-control")
# About a segment of TCP: the smallest part of the stream whose departure is timed.
_CHUNK_BYTES = 1448
# So little may wait in the relay's sockets, because what waits there is delay that TCP does not see.
_SOCKET_BYTES = 16 * 1024
_WAITING_CHUNKS = 4096
# Of IPv4 with TCP and its time stamps, or with UDP.
_TCP_BYTES, _UDP_BYTES = 52, 28
# A datagram behind more is lost, as at a router whose queue is full: half a second, or what a handshake sends at once.
_LONGEST_QUEUE_S, _QUEUE_BYTES = 0.5, 6000
# Senders by UDP, of which nobody says when they have left.
_MAX_SENDERS = 64
_MAX_DATAGRAM_BYTES = 65_536
_MAX_DELAY_S = 10.0


def parse_rate(text: str) -> float | None:
    """`256kbit`, `1.5mbit` → bits per second; `unlimited` → None. Raises ValueError."""
    if text == "unlimited":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(bit|kbit|mbit|gbit)", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{text!r} is no rate: give for example 256kbit, 2mbit or unlimited")
    return float(found[1]) * _UNITS[found[2]]


def parse_delay(text: str) -> float:
    """`50ms` → seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)ms", text.strip().lower())
    if found is None or float(found[1]) / 1e3 > _MAX_DELAY_S:
        raise ValueError(f"{text!r} is no delay: give milliseconds up to 10000, for example 50ms")
    return float(found[1]) / 1e3


@dataclass(slots=True)
class Link:
    """What the link is like at the moment.

    Args:
        rate_bps: bits per second in each direction; None for no limit.
        delay_s: one way.
    """

    rate_bps: float | None
    delay_s: float

    def __str__(self) -> str:
        rate = "unlimited" if self.rate_bps is None else f"{self.rate_bps / 1e3:g} kbit/s"
        return f"{rate} in each direction, delay {self.delay_s * 1e3:g} ms"


class Direction:
    """One direction of the link, which all connections share: a queue that empties at the link's rate.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, link: Link, now: Callable[[], float]) -> None:
        self._link = link
        self._now = now
        self._free_s = 0.0

    def send(self, size: int) -> float:
        """When the last bit of `size` bytes has left, behind everything that was sent before."""
        now_s = self._now()
        if self._link.rate_bps is None:
            self._free_s = now_s
        else:
            self._free_s = max(now_s, self._free_s) + 8 * size / self._link.rate_bps
        return self._free_s

    @property
    def queue_s(self) -> float:
        """How long it takes until everything that was sent before has left."""
        return max(self._free_s - self._now(), 0.0)


class Relay:
    """Accepts connections and relays each to the target.

    Args:
        link: may change at any time.
        target: host and port.

    Attributes:
        datagrams: the same for UDP.
    """

    def __init__(self, link: Link, target: tuple[str, int]) -> None:
        self._link = link
        self._target = target
        loop = asyncio.get_running_loop()
        self._up, self._down = (Direction(link, loop.time) for _ in range(2))
        self.datagrams = Datagrams(link, target, self._up, self._down)
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, server: socket.socket) -> None:
        """Accepts connections without end at a socket from `listening`."""
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(server)
            task = asyncio.create_task(self._relay(client))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _relay(self, client: socket.socket) -> None:
        """Relays one connection until one end resets it, or both have finished sending."""
        with client:
            try:
                target = await self._connect()
            except OSError as error:
                print(f"cannot reach {self._target[0]}:{self._target[1]}: {error}", file=sys.stderr, flush=True)
                return
            with target:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._pump(client, target, self._up))
                        group.create_task(self._pump(target, client, self._down))
                except* OSError:
                    pass  # one end has reset the connection: so is the other

    async def _connect(self) -> socket.socket:
        host, port = self._target
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        """Moves the bytes of one direction of one connection, at the link's rate and after its delay."""
        loop = asyncio.get_running_loop()
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING_CHUNKS)
        for end in (source, sink):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def deliver() -> None:
            while True:
                arrives_s, data = await arriving.get()
                await asyncio.sleep(max(arrives_s - loop.time(), 0.0))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                await loop.sock_sendall(sink, data)

        async def depart() -> None:
            data = b"first"
            while data:
                data = await loop.sock_recv(source, _CHUNK_BYTES)
                left_s = direction.send(len(data) + _TCP_BYTES)
                await asyncio.sleep(max(left_s - loop.time(), 0.0))
                await arriving.put((left_s + self._link.delay_s, data))

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            group.create_task(depart())


class Datagrams(asyncio.DatagramProtocol):
    """Relays the datagrams of each sender from a socket of its own.

    Args:
        up, down: the link's directions, which TCP uses too.
    """

    def __init__(self, link: Link, target: tuple[str, int], up: Direction, down: Direction) -> None:
        self._link, self._target, self._up, self._down = link, target, up, down
        self._sockets: dict[Any, socket.socket] = {}
        self._listening: Any = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.DatagramProtocol`."""
        self._listening = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Takes a datagram of a sender."""
        try:
            to_target = self._sockets.pop(addr, None) or self._connect(addr)
        except OSError as error:
            print(f"cannot reach {self._target[0]}:{self._target[1]}: {error}", file=sys.stderr, flush=True)
            return
        self._sockets[addr] = to_target
        if len(self._sockets) > _MAX_SENDERS:
            self._close(next(iter(self._sockets)))
        self._carry(self._up, data, lambda: to_target.send(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.DatagramProtocol`."""
        for addr in list(self._sockets):
            self._close(addr)

    def _connect(self, addr: Any) -> socket.socket:
        """A socket to the target, whose answers are for this sender. Raises OSError."""
        found = socket.getaddrinfo(*self._target, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        connection.connect(address)
        asyncio.get_running_loop().add_reader(connection, self._answer, connection, addr)
        return connection

    def _answer(self, connection: socket.socket, addr: Any) -> None:
        # A target that takes no UDP refuses it.
        with contextlib.suppress(OSError):
            data = connection.recv(_MAX_DATAGRAM_BYTES)
            self._carry(self._down, data, lambda: self._listening.sendto(data, addr))

    def _carry(self, direction: Direction, data: bytes, deliver: Callable[[], Any]) -> None:
        longest_s = max(_LONGEST_QUEUE_S, 8 * _QUEUE_BYTES / (self._link.rate_bps or math.inf))
        if direction.queue_s > longest_s:
            return
        arrives_s = direction.send(len(data) + _UDP_BYTES) + self._link.delay_s

        def arrive() -> None:
            with contextlib.suppress(OSError):
                deliver()

        asyncio.get_running_loop().call_at(arrives_s, arrive)

    def _close(self, addr: Any) -> None:
        connection = self._sockets.pop(addr)
        asyncio.get_running_loop().remove_reader(connection)
        connection.close()


def change(link: Link, command: Sequence[str]) -> str:
    """Carries out a command; returns what the link is like then. Raises ValueError."""
    match list(command):
        case ["rate", value]:
            link.rate_bps = parse_rate(value)
        case ["delay", value]:
            link.delay_s = parse_delay(value)
        case ["status"]:
            pass
        case _:
            raise ValueError(f"unknown command {' '.join(command)!r}: rate, delay or status")
    return str(link)


def listening(address: tuple[str, int]) -> socket.socket:
    """A socket that accepts connections. Raises OSError."""
    server = socket.create_server(address, backlog=64)
    server.setblocking(False)
    # Accepted connections inherit it.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
    return server


async def serve(link: Link, listen: tuple[str, int], target: tuple[str, int], control: str) -> None:
    """Relays, and carries out the commands that arrive at the control socket, until SIGTERM or SIGINT."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                line = change(link, (await reader.readline()).decode().split())
                print(line, flush=True)
            except ValueError as error:
                line = f"error: {error}"
            writer.write(line.encode() + b"\n")
            await writer.drain()
            writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(control)
    await asyncio.start_unix_server(answer, control)
    os.chmod(control, 0o600)
    with listening(listen) as server:
        relay = Relay(link, target)
        relaying = asyncio.create_task(relay.serve(server))
        udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay.datagrams, local_addr=listen)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, relaying.cancel)
        print(f"relaying {listen[0]}:{listen[1]} to {target[0]}:{target[1]}, {link}", flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await relaying
        udp.close()


def ask(command: Sequence[str], control: str) -> int:
    """Sends a command to the relay that runs; prints its answer and returns the exit code."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(control)
            connection.sendall(" ".join(command).encode() + b"\n")
            answer = connection.makefile().readline().strip()
        except OSError as error:
            answer = f"error: no relay answers at {control}: {error.strerror}"
    print(answer, file=sys.stderr if answer.startswith("error") else sys.stdout)
    return 1 if answer.startswith("error") else 0


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    if arguments and arguments[0] in ("rate", "delay", "status"):
        return ask(arguments, _CONTROL)
    parser = argparse.ArgumentParser("relay.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT")
    parser.add_argument("--target", type=_address, required=True, metavar="HOST:PORT")
    parser.add_argument("--rate", type=parse_rate, default=None, help="such as 48kbit (default: unlimited)")
    parser.add_argument("--delay", type=parse_delay, default=0.0, help="one way, such as 20ms (default: none)")
    options = parser.parse_args(arguments)
    asyncio.run(serve(Link(options.rate, options.delay), options.listen, options.target, _CONTROL))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
