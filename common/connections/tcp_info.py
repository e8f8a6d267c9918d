"""What this process's TCP connections have carried, as the kernel counts it."""

import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.clock import SYSTEM_CLOCK, Clock

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
