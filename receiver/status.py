"""The receiver's figures of the last seconds, for its status line."""

import math
import threading

from common.clock import SYSTEM_CLOCK, Clock
from common.io.recent import RecentRate
from common.io.status_line import bit_rate, counted, duration

_RECENT_S = 3.0
_LITTLE_DISK_BYTES = 2e9


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

    def parts(self, free_bytes: float = math.nan) -> list[str]:
        """The parts of the status line, the most important first; of the output's disk free bytes, NaN if not known."""
        now_s = self._clock.monotonic()
        with self._lock:
            self._people = {key: entry for key, entry in self._people.items() if now_s - entry[0] <= _RECENT_S}
            people = sum(people for _, people in self._people.values())
            found = [
                counted(self._sessions, "session"),
                f"{self._published.per_second(now_s):.1f} fps",
                counted(people, "person", "people"),
                counted(self._meshes, "mesh", "meshes"),
                f"links {bit_rate(8 * self._bytes.per_second(now_s))}",
            ]
            if self._people and self._age_ms is not None:
                found.insert(3, f"age {duration(max(self._age_ms, 0.0))}")
        if not math.isnan(free_bytes):
            free = f"{free_bytes / 1e9:.1f} GB free"
            if free_bytes < _LITTLE_DISK_BYTES:
                found.insert(0, f"[yellow]{free}[/]")
            else:
                found.append(free)
        return found
