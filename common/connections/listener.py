"""A listening socket that bounds what strangers hold: connections in all and of one host, and how long they may wait.

accept ─ descriptors left? ─ rate of the host? ─ room? ──────────────────────→ connection
                                                   └ full: those end that wait ┘
"""

import errno
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from common.connections.shares import has_room, share_of_host, superfluous
from common.io.addresses import address_key
from common.io.logs import RepeatedLines

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
