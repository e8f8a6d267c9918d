"""Connections of strangers: how many and how often, who gives way, and what the kernel says of each.

A listening socket that bounds what strangers hold: connections in all and of one host, and how long they may wait.

accept ─ descriptors left? ─ rate of the host? ─ room? ──────────────────────→ connection
                                                   └ full: those end that wait ┘
"""

import errno
import logging
import os
import socket
import stat
import struct
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from common.clock import SYSTEM_CLOCK, Clock
from common.io.addresses import address_key
from common.io.logs import RepeatedLines

_MOST_NAMES = 1024


class BeginRate:
    """Limits how often each account, or host, begins something.

    Args:
        per_second: after the burst.
        burst: how many may begin at once.
    """

    def __init__(self, per_second: float, burst: int, clock: Clock) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        # When somebody will have the whole burst again; those who have it are left out.
        self._restored_s: dict[str, float] = {}

    def take(self, who: str) -> bool:
        """Counts a beginning; returns whether there is room for it."""
        now_s = self._clock.monotonic()
        if len(self._restored_s) >= _MOST_NAMES:
            self._restored_s = {name: at_s for name, at_s in self._restored_s.items() if at_s > now_s}
        restored_s = max(self._restored_s.get(who, now_s), now_s) + 1 / self._per_second
        if restored_s - now_s > self._burst / self._per_second:
            return False
        self._restored_s[who] = restored_s
        return True


class TokenBucket:
    """A rate with a burst of one second."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._rate, self._clock = per_second, clock
        self._credit, self._updated_s = per_second, clock.monotonic()

    def take(self, amount: float) -> float:
        """Takes an amount; returns how long its taker has to wait, in seconds."""
        now_s = self._clock.monotonic()
        self._credit = min(self._rate, self._credit + (now_s - self._updated_s) * self._rate) - amount
        self._updated_s = now_s
        return max(-self._credit / self._rate, 0.0)


T = TypeVar("T")


def share_of_host(most: int) -> int:
    """How many of `most` places one host may have: half of them."""
    return max(most // 2, 1)


def has_room(hosts: Collection[str], host: str, most: int, of_host: int) -> bool:
    """Whether a host may have another of `most` places.

    Args:
        hosts: who has a place, once for each.
        of_host: how many one host may have.
    """
    return len(hosts) < most and Counter(hosts)[host] < of_host


def superfluous(waiting: Iterable[tuple[T, str]], count: int) -> Iterator[T]:
    """At most `count` of those that wait: each the oldest one of the host that has the most of those left.

    Args:
        waiting: each with its host, the oldest first.
    """
    by_host: dict[str, deque[T]] = defaultdict(deque)
    for each, host in waiting:
        by_host[host].append(each)
    for _ in range(count):
        busiest = max(by_host.values(), key=len, default=None)
        if not busiest:
            return
        yield busiest.popleft()


# struct tcp_info (linux/tcp.h): tcpi_bytes_acked; tcpi_bytes_received, tcpi_segs_out, tcpi_segs_in; tcpi_bytes_sent,
# retransmissions too.
_ACKNOWLEDGED_AT = 120
_RECEIVED_AND_SEGMENTS, _RECEIVED_AT = struct.Struct("=QII"), 128
_SENT, _SENT_AT = struct.Struct("=Q"), 200
_INFO_BYTES = _SENT_AT + _SENT.size
_FOLDER = "/proc/self/fd"
# IPv4 or IPv6, and TCP with time stamps.
_HEADER_BYTES, _HEADER_V6_BYTES = 52, 72
_KEPT_S = 0.5


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """One connection of this process.

    Args:
        number: of its socket, unique while the process runs.
        descriptor: of its file.
        local_port: of this end.
        remote: host and port of the other end.
        sent_bytes, received_bytes: above TCP, retransmissions included.
        ip_bytes: in both directions, headers of TCP and IP and pure acknowledgements included.
        ip_sent_bytes: the part of this end.
    """

    number: int
    descriptor: int
    local_port: int
    remote: tuple[str, int]
    sent_bytes: int
    received_bytes: int
    ip_bytes: int
    ip_sent_bytes: int

    def shut_down(self) -> None:
        """Ends the connection, unless its owner has ended it: both ends read the end of the stream."""
        try:
            opened = socket.socket(fileno=self.descriptor)
        except OSError:
            return
        try:
            if _remote(opened) == self.remote:
                opened.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            opened.detach()


class TcpConnections:
    """The connections of this process; none where the system does not tell (any but Linux).

    The list is read again after half a second at the earliest, since it takes a system call per open file.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._read_s = -float("inf")
        self._found: dict[tuple[str, int], list[TcpConnection]] = {}

    def from_host(self, host: str, port: int) -> list[TcpConnection]:
        """Those whose other end has this numeric address and port."""
        return self._all().get((host, port), [])

    def to_port(self, port: int) -> list[TcpConnection]:
        """Those whose other end has this port."""
        return [connection for (_, its_port), found in self._all().items() if its_port == port for connection in found]

    def at_port(self, port: int) -> list[TcpConnection]:
        """Those that others have made to this port."""
        return [connection for found in self._all().values() for connection in found if connection.local_port == port]

    def _all(self) -> Mapping[tuple[str, int], list[TcpConnection]]:
        """By their other ends: each of many streams asks for its own."""
        with self._lock:
            now_s = self._clock.monotonic()
            if now_s - self._read_s >= _KEPT_S:
                self._found, self._read_s = {}, now_s
                for connection in _read_all():
                    self._found.setdefault(connection.remote, []).append(connection)
            return self._found


def acknowledged_bytes(opened: Any) -> int | None:
    """How much of what was sent on a TCP connection its other end has; None where the system does not tell."""
    try:
        info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except (OSError, AttributeError):
        return None
    return int.from_bytes(info[_ACKNOWLEDGED_AT:_RECEIVED_AT], sys.byteorder) if len(info) == _INFO_BYTES else None


def _read_all() -> list[TcpConnection]:
    try:
        numbers = [int(name) for name in os.listdir(_FOLDER)]
    except OSError:
        return []
    return [found for number in numbers if (found := _read(number)) is not None]


def _read(number: int) -> TcpConnection | None:
    try:
        status = os.fstat(number)
        if not stat.S_ISSOCK(status.st_mode):
            return None
        # Not another reference to the connection: `detach` leaves the file to its owner.
        opened = socket.socket(fileno=number)
    except OSError:
        return None
    try:
        if opened.type != socket.SOCK_STREAM or opened.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        remote, local_port = _remote(opened), opened.getsockname()[1]
        info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except (OSError, AttributeError):
        return None
    finally:
        opened.detach()
    if len(info) < _INFO_BYTES:
        return None
    received, sent_segments, received_segments = _RECEIVED_AND_SEGMENTS.unpack_from(info, _RECEIVED_AT)
    (sent,) = _SENT.unpack_from(info, _SENT_AT)
    header_bytes = _HEADER_V6_BYTES if ":" in remote[0] else _HEADER_BYTES
    ip_sent_bytes, ip_received_bytes = sent + header_bytes * sent_segments, received + header_bytes * received_segments
    ip_bytes = ip_sent_bytes + ip_received_bytes
    return TcpConnection(status.st_ino, number, local_port, remote, sent, received, ip_bytes, ip_sent_bytes)


def _remote(opened: socket.socket) -> tuple[str, int]:
    host, port = opened.getpeername()[:2]
    return host.removeprefix("::ffff:"), port


logger = logging.getLogger(__name__)

# Refused in one call: under a flood the caller has other things to do, too.
_REFUSED_AT_ONCE = 64
# Of the places, ended together where all are taken: to look for those that wait costs more than to end one.
_CLEARED_SHARE = 1 / 8
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A connection: its other end (numeric host and port), whose it is, and when it was accepted (monotonic)."""

    remote: tuple[str, int]
    host: str
    accepted_s: float


Waiting = Callable[[Collection[Accepted]], Iterable[Collection[Accepted]]]
"""Those of the connections that wait for their clients, in groups: one ends only if those before it are empty."""


class BoundedListener(socket.socket):
    """Accepts so many connections in all, and half as many of one host; the others are closed at once.

    Where there is no room, connections end that wait for their clients, the oldest of the busiest host first, so that
    whoever says nothing keeps nobody out. Connections are counted until their owners have closed them.

    Args:
        bound: the socket, which it takes over.
        what: is served, for the log.
        most: connections.
        is_shared: whether many clients come from a host, which then may have all connections.
        takes: counts a connection of a host; returns whether it may have another one now.
        waiting: by default, all of them wait.
        kept_free_from: descriptors from this number on are for others. The system gives the lowest free one.
    """

    def __init__(
        self,
        bound: socket.socket,
        what: str,
        most: int,
        *,
        is_shared: Callable[[str], bool] = lambda _: False,
        takes: Callable[[str], bool] = lambda _: True,
        waiting: Waiting = lambda connections: [connections],
        kept_free_from: int | None = None,
    ) -> None:
        timeout_s = bound.gettimeout()
        super().__init__(bound.family, bound.type, bound.proto, bound.detach())
        self.settimeout(timeout_s)
        self._what, self._most, self._is_shared, self._takes = what, most, is_shared, takes
        self._waiting, self._kept_free_from = waiting, kept_free_from
        self._lines = RepeatedLines(logger)
        self._open: dict[socket.socket, Accepted] = {}

    @property
    def connections(self) -> Sequence[Accepted]:
        """Those that are open, the oldest first."""
        self._open = {each: accepted for each, accepted in self._open.items() if each.fileno() >= 0}
        return list(self._open.values())

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that has a place.

        Raises:
            BlockingIOError: there is none.
            ConnectionAbortedError: too many were refused; there may be others.
        """
        for _ in range(_REFUSED_AT_ONCE):
            try:
                connection, remote = super().accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._warn("no descriptor is left")
                raise BlockingIOError(errno.EAGAIN, "no descriptor is left") from error
            host = address_key(remote[0])
            if self._admits(connection, host):
                self._open[connection] = Accepted((remote[0], remote[1]), host, time.monotonic())
                return connection, remote
            connection.close()
        raise ConnectionAbortedError(errno.ECONNABORTED, "connections were refused")

    def end(self, ended: Collection[Accepted]) -> None:
        """Ends connections: their owners read the end of the stream."""
        for connection, accepted in tuple(self._open.items()):
            if accepted in ended:
                del self._open[connection]
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def end_older_than(self, seconds: float) -> None:
        """Ends those that were accepted so long ago."""
        before_s = time.monotonic() - seconds
        self.end({each for each in self.connections if each.accepted_s < before_s})

    def _admits(self, connection: socket.socket, host: str) -> bool:
        if self._kept_free_from is not None and connection.fileno() >= self._kept_free_from:
            return self._warn("the descriptors that are left are kept for the output")
        shared = self._is_shared(host)
        if not shared and not self._takes(host):
            return self._warn("an address connects too often", host)
        of_host = self._most if shared else share_of_host(self._most)
        hosts = [each.host for each in self.connections]
        if has_room(hosts, host, self._most, of_host):
            return True
        counts = Counter(hosts)
        if counts[host] >= of_host:
            self._warn(f"an address has its {of_host} connections", host)
            return self._clear(host)
        self._warn(f"all {self._most} connections are taken", counts.most_common(1)[0][0])
        return self._clear()

    def _clear(self, host: str | None = None) -> bool:
        """Ends some that wait, of a host or of all; returns whether there were any."""
        present = [each for each in self.connections if host in (None, each.host)]
        for group in self._waiting(present):
            ended = set(superfluous(((each, each.host) for each in group), max(int(_CLEARED_SHARE * len(present)), 1)))
            if ended:
                self.end(ended)
                return True
        return False

    def _warn(self, reason: str, host: str = "") -> bool:
        """Logs why connections end or are refused, once a minute; returns False."""
        whose = f" ({host})" if host else ""
        text = f"{self._what}: {reason}{whose}: those that say nothing end, others may be refused"
        self._lines.write(logging.WARNING, reason, text)
        return False
