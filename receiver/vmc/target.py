"""A program that takes motion: where its address leads, and what is logged when nothing gets there.

Names are looked up in threads of their own: a network that does not answer takes seconds.
"""

import contextlib
import errno
import logging
import math
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from common.clock import Clock
from common.io.addresses import Address

logger = logging.getLogger(__name__)

# What fails is opened again after this time; what has not failed for so long works.
_REOPENED_S, _WORKS_S = 1.0, 5.0
_REMEDIES = {
    errno.ECONNREFUSED: "start the program, or give the port that it takes VMC on",
    errno.EACCES: "permit it in the firewall",
    errno.EPERM: "permit it in the firewall",
}
_OTHER_REMEDY = "tried again until it works"
# A machine on which nobody listens says so within this time.
_ANSWER_S = 0.2

EMPTY_BUNDLE = b"#bundle\0" + struct.pack(">Q", 1)
"""A bundle of OSC that is due at once, without messages."""


def resolved(address: Address) -> Sequence[tuple[Any, ...]]:
    """Family and socket address of each of a host's addresses, IPv4 first: many programs listen on that alone.

    Raises:
        OSError: the host is not known.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    places = dict.fromkeys((family, place) for family, _, _, _, place in found)
    return sorted(places, key=lambda each: each[0] != socket.AF_INET)


def connected(family: int, place: Any) -> socket.socket:
    """A UDP socket whose sends tell when nobody listens there; also broadcast addresses can be reached.

    Raises:
        OSError: no network leads there.
    """
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        opened.setblocking(False)
        opened.connect(place)
    except BaseException:
        opened.close()
        raise
    return opened


def place_of(opened: socket.socket) -> str:
    """Where a connected socket sends to, without the name of a host."""
    host, port, *_ = opened.getpeername()
    return str(Address(host, port))


def probed(address: Address) -> str:
    """Where the first address leads to that takes what is sent: a bundle without messages.

    Raises:
        OSError: of the first address, when none does.
    """
    errors: list[OSError] = []
    for family, place in resolved(address):
        try:
            with connected(family, place) as opened:
                opened.send(EMPTY_BUNDLE)
                opened.settimeout(_ANSWER_S)
                with contextlib.suppress(TimeoutError):
                    opened.recv(1)
                return place_of(opened) + (", every machine of that network" if _is_broadcast(opened) else "")
        except OSError as error:
            errors.append(error)
    raise errors[0]


def _is_broadcast(opened: socket.socket) -> bool:
    """Whether a socket is connected to a broadcast address, which others may not connect to."""
    with socket.socket(opened.family, socket.SOCK_DGRAM) as plain:
        try:
            plain.connect(opened.getpeername())
        except PermissionError:
            return True
    return False


def failure(address: Address, error: OSError) -> str:
    """What is to be logged of sends that fail."""
    if isinstance(error, socket.gaierror):
        return f"--vmc {address}: {error.strerror}: give an address that this machine knows"
    remedy = _REMEDIES.get(error.errno or 0, _OTHER_REMEDY)
    return f"--vmc {address}: nothing gets there ({error.strerror}): {remedy}"


class _Lookup:
    """The addresses of a host, or why there are none."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._thread = threading.Thread(target=self._run, name="vmc lookup", daemon=True)
        self._found: Sequence[tuple[Any, ...]] = ()
        self._error: OSError | None = None
        if address.is_loopback or address.is_ip:
            self._run()
        else:
            self._thread.start()

    def _run(self) -> None:
        try:
            self._found = resolved(self._address)
        except OSError as error:
            self._error = error

    def result(self) -> Sequence[tuple[Any, ...]] | None:
        """None until it is known; raises OSError if the host is not."""
        if self._thread.is_alive():
            return None
        if self._error is not None:
            raise self._error
        return self._found


class Target:
    """Sends packets to one address, from one thread.

    Of a host with several addresses, the next one is taken when nothing gets to the one before.  Where motion goes, and
    why nothing gets there, is logged once until sends work again.
    """

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address, self._clock = address, clock
        self._socket: socket.socket | None = None
        self._lookup: _Lookup | None = None
        self._opened_s = self._failed_s = -math.inf
        self._attempts = 0
        self._place = self._goes = ""
        self._fails = False
        self._told: set[str] = set()

    def send(self, packets: Iterable[bytes]) -> None:
        """Sends now or not at all."""
        now_s = self._clock.monotonic()
        try:
            if self._opens(now_s):
                self._open(now_s)
            if self._socket is None:
                return
            for packet in packets:
                self._socket.send(packet)
        except OSError as error:
            self._fails, self._failed_s = True, now_s
            self._tell(logging.WARNING, failure(self._address, error))
            return
        if self._fails and now_s - self._failed_s >= _WORKS_S:
            self._fails = False
            self._told = {self._goes}
            logger.info("--vmc %s: motion gets to %s again", self._address, self._place)

    def close(self) -> None:
        """Frees the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _opens(self, now_s: float) -> bool:
        """Whether it is time to look for an address: for the first, or for another one after a failure."""
        if self._lookup is not None:
            return True
        failed = self._socket is None or self._failed_s >= self._opened_s
        return failed and now_s - self._opened_s >= _REOPENED_S

    def _open(self, now_s: float) -> None:
        """Takes the next address once the lookup has ended; raises OSError."""
        self._lookup = self._lookup or _Lookup(self._address)
        try:
            found = self._lookup.result()
        except OSError:
            self._lookup, self._opened_s = None, now_s
            raise
        if found is None:
            return
        self.close()
        self._lookup, self._opened_s = None, now_s
        self._attempts += 1
        self._socket = connected(*found[(self._attempts - 1) % len(found)])
        self._place = place_of(self._socket)
        self._goes = f"--vmc {self._address}: motion goes to {self._place}"
        self._tell(logging.INFO, self._goes)

    def _tell(self, level: int, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            logger.log(level, "%s", line)
