"""What the receiver says on its terminal: where it listens, and the figures of the last seconds."""

import math
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.text import Text

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import UsageError
from common.io.addresses import Address
from common.io.recent import RecentRate
from common.io.status_line import Part, Symbols, bit_rate, counted, duration, status_text
from common.wire.certificates import certificates_in, read_pem, subject_names
from receiver.link.config import SecurityConfig
from receiver.publish.output_files import free_and_size_bytes

_RECENT_S = 3.0
_DISK_EVERY_S = 5.0
_LITTLE_DISK_BYTES = 2e9

_ALL_INTERFACES = ("0.0.0.0", "::")
# An address for documentation (RFC 5737): connecting a UDP socket to it sends nothing but selects the interface.
_ELSEWHERE = ("192.0.2.1", 9)


@dataclass(frozen=True, slots=True)
class ReceiverFigures:
    """One moment of a receiver.

    Args:
        sessions: of connected senders.
        frames_per_second: that were published, of all sessions.
        people: in the newest frames of the sessions together.
        age_ms: of the newest frame when it was published; None before the first, and while it is not known.
        bits_per_second: everything on the links of all sessions, in both directions.
        meshes: written since the start.
    """

    sessions: int
    frames_per_second: float
    people: int
    age_ms: float | None
    bits_per_second: float
    meshes: int

    def parts(self, free_bytes: float) -> list[Part]:
        """The parts of the status line, with the free bytes on the disk of the output, NaN if not known."""
        found = [
            Part(counted(self.sessions, "session"), 0),
            Part(f"{self.frames_per_second:.1f} fps", 1),
            Part(counted(self.people, "person", "people"), 3),
            Part(f"links {bit_rate(self.bits_per_second)}", 5),
            Part(counted(self.meshes, "mesh", "meshes"), 4),
        ]
        if self.age_ms is not None:
            found.insert(3, Part(f"age {duration(max(self.age_ms, 0.0))}", 2))
        if not math.isnan(free_bytes):
            little = free_bytes < _LITTLE_DISK_BYTES
            found.append(Part(f"{free_bytes / 1e9:.1f} GB free", 2 if little else 6, "yellow" if little else ""))
        return found


class ReceiverStatus:
    """Keeps the figures; the metrics notify it, and any thread may read them."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._published, self._bytes = RecentRate(_RECENT_S), RecentRate(_RECENT_S)
        self._people: dict[int, tuple[float, int]] = {}
        self._sessions = self._meshes = 0
        self._age_ms: float | None = None

    def sessions_changed(self, by: int) -> None:
        with self._lock:
            self._sessions += by

    def transferred(self, size: int) -> None:
        with self._lock:
            self._bytes.add(size, self._clock.monotonic())

    def frame_published(self, session: int, people: int, age_ms: float | None) -> None:
        now_s = self._clock.monotonic()
        with self._lock:
            self._published.add(1, now_s)
            self._people[session] = now_s, people
            self._age_ms = age_ms

    def mesh_published(self) -> None:
        with self._lock:
            self._meshes += 1

    def figures(self) -> ReceiverFigures:
        """The figures of this moment."""
        now_s = self._clock.monotonic()
        with self._lock:
            self._people = {key: entry for key, entry in self._people.items() if now_s - entry[0] <= _RECENT_S}
            return ReceiverFigures(
                sessions=self._sessions,
                frames_per_second=self._published.per_second(now_s),
                people=sum(people for _, people in self._people.values()),
                age_ms=self._age_ms if self._people else None,
                bits_per_second=8 * self._bytes.per_second(now_s),
                meshes=self._meshes,
            )


class StatusLine:
    """Draws the status line of a receiver; `disk` gives free bytes and size of a directory's disk, or NaN."""

    def __init__(
        self,
        status: ReceiverStatus,
        out: Path,
        clock: Clock = SYSTEM_CLOCK,
        disk: Callable[[Path], tuple[float, float]] = free_and_size_bytes,
    ) -> None:
        self._status, self._out, self._clock = status, out, clock
        self._disk = disk
        self._free_bytes = math.nan
        self._read_s: float | None = None

    def line(self, width: int, symbols: Symbols) -> Text:
        """The status line for a terminal of this width."""
        now_s = self._clock.monotonic()
        if self._read_s is None or now_s - self._read_s >= _DISK_EVERY_S:
            self._read_s = now_s
            self._free_bytes, _ = self._disk(self._out)
        return status_text("receiver", self._status.figures().parts(self._free_bytes), width, symbols)


def startup_line(bound: Address, security: SecurityConfig) -> str:
    """The address, whom it serves, and what to run next."""
    if bound.is_loopback:
        return (
            f"listening on {bound} (this machine only); to take senders from other machines: "
            "receiver --listen 0.0.0.0:50051 with --tls-cert and --tls-key (see docs/security.md), or with --insecure"
        )
    protection = "encrypted" if security.tls_cert else "not encrypted"
    names = reached_as(bound.host, security.tls_cert)
    reached = [str(replace(bound, host=name)) for name in names]
    also = f" (also reachable as {', '.join(reached[1:])})" if reached[1:] else ""
    return (
        f"listening on {bound} ({protection}); to send from another machine: "
        f"sender --camera 0 --peer {reached[0]}{sender_flags(security)}{also}"
    )


def reached_as(host: str, certificate: Path | None) -> list[str]:
    """The names by which others reach an address that is listened on.

    Those that the certificate covers come before those of this machine, because a sender or browser refuses others.
    """
    names = host_names() if host in _ALL_INTERFACES else [host]
    if certificate is None:
        return names
    try:
        own = subject_names(certificates_in(read_pem(certificate, "--tls-cert"), "--tls-cert")[0])
    except UsageError:
        return names
    wildcards = tuple(name.removeprefix("*") for name in own if name.startswith("*."))
    fitting = [name for name in names if name in own or ("." in name and name[name.index(".") :] in wildcards)]
    # The first may be the name of the certificate, which has no dot.
    return fitting or sorted((name for name in own if "*" not in name), key=lambda name: "." not in name) or names


def sender_flags(security: SecurityConfig) -> str:
    """What a sender of another machine has to be given beside the address."""
    if security.tls_cert is None:
        return " --insecure"
    flags = " --tls-ca ca.pem"
    if security.tls_ca:
        flags += " --tls-cert NAME.pem --tls-key NAME.key"
    return flags + (" --token-file FILE" if security.tokens else "")


def host_names() -> list[str]:
    """This machine's address on the network that leads outside, if there is one, and its host name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            addresses = [str(probe.getsockname()[0])]
        except OSError:
            addresses = []
    return [*addresses, socket.gethostname()]
