"""Where a daemon's time goes, for `--profile`: duration and processor time of its stages as a table."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from threading import Lock

import numpy as np

# Of each stage: enough for a p95 that does not depend on luck, and little memory for a daemon that runs for months.
_LAST_PASSES = 10_000


class Profile:
    """Collects the passes of stages, from any thread.

    Args:
        processor_time: of the whole process, seconds.
    """

    def __init__(self, processor_time: Callable[[], float] = time.process_time) -> None:
        self._processor_time = processor_time
        self._durations_s: dict[str, deque[float]] = {}
        self._passes: Counter[str] = Counter()
        self._worked_s: defaultdict[str, float] = defaultdict(float)
        self._began_s: float | None = None
        self._lock = Lock()

    def passed(self, stage: str, seconds: float) -> None:
        """One pass through a stage took so long; the processor time of the process counts from the first one on."""
        with self._lock:
            if self._began_s is None:
                self._began_s = self._processor_time()
            self._durations_s.setdefault(stage, deque(maxlen=_LAST_PASSES)).append(seconds)
            self._passes[stage] += 1

    def worked(self, stage: str, seconds: float) -> None:
        """The thread of a stage used so much processor time in it."""
        with self._lock:
            self._worked_s[stage] += seconds

    def table(self, frames: int) -> list[str]:
        """Lines for the user: each stage, what no stage used, and the process.

        Args:
            frames: that the processor time is divided by.
        """
        with self._lock:
            began_s = self._processor_time() if self._began_s is None else self._began_s
            all_s = max(self._processor_time() - began_s, 1e-9)
            rows = [
                (stage, self._passes[stage], *np.percentile(durations_s, (50, 95)) * 1e3, self._worked_s[stage])
                for stage, durations_s in self._durations_s.items()
            ]
        stages = [
            f"{stage:<12}{passes:>8}{median_ms:>9.1f}{late_ms:>9.1f}" + _work(worked_s, all_s, frames)
            for stage, passes, median_ms, late_ms, worked_s in sorted(rows, key=lambda row: row[-1], reverse=True)
        ]
        other_s = max(all_s - sum(row[-1] for row in rows), 0.0)
        return [
            f"{'stage':<12}{'passes':>8}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms a frame':>16}{'share':>8}",
            *stages,
            f"{'elsewhere':<38}" + _work(other_s, all_s, frames),
            f"{f'all, {frames} frames':<38}" + _work(all_s, all_s, frames),
        ]


def _work(worked_s: float, all_s: float, frames: int) -> str:
    return f"{worked_s * 1e3 / max(frames, 1):>16.1f}{worked_s / all_s:>8.0%}"
