"""What a simulation of a pool needs to know of the real one: times and processor use of batches in replicas.

Batches of equal size go to the pool directly, without queue: one or two at a time to a pool of one replica, and two to
each replica of a pool of two.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UsageError
from common.frames import LabelFrame
from receiver.engine.pool.pool import PersonWork, Pool
from tests.bench.scale import processor_seconds

BATCH_PEOPLE = (1, 2, 3, 4, 8)
# Two replicas get batches of this size, the commonest under load.
PAIR_PEOPLE = 2
_WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """Batches of one size.

    Args:
        alone_s: time of each batch, from request to result, with no other in hand.
        networks_s: mean time of its network pass.
        cores: processor cores in use meanwhile, of front, replica and Ray together.
        speedup: how many times the batches per second two in hand are than one.
    """

    alone_s: tuple[float, ...]
    networks_s: float
    cores: float
    speedup: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the simulation is fed with.

    Args:
        batches: by number of people.
        cores: that replicas and front have together on the machine, other programs excluded.
        machine: that it was measured on.
    """

    batches: dict[int, BatchFigures]
    cores: float
    machine: dict[str, Any]

    def write(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Reads what `write` has written.

        Raises:
            UsageError: the file cannot be read, or is another one.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            batches = {
                int(people): BatchFigures(**{**figures, "alone_s": tuple(figures["alone_s"])})
                for people, figures in document["batches"].items()
            }
            return cls(batches, float(document["cores"]), dict(document["machine"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is no calibration: {error}; write one with --calibrate {path}") from error


@dataclass(frozen=True, slots=True)
class Loop:
    """Batches of one size in a closed loop.

    Args:
        times_s: of each batch.
        networks_s: mean time of the network pass.
        per_second: batches.
        cores: in use.
    """

    times_s: tuple[float, ...]
    networks_s: float
    per_second: float
    cores: float


async def closed_loop(pool: Pool, frames: Sequence[LabelFrame], people: int, in_hand: int, seconds: float) -> Loop:
    """Keeps so many batches in hand for some seconds."""
    times_s: list[float] = []
    networks_s: list[float] = []
    began_s, began_cpu_s = time.perf_counter(), processor_seconds()

    async def batches(start: int) -> None:
        number = start
        while time.perf_counter() < began_s + seconds or not times_s:
            sent_s = time.perf_counter()
            done = await pool.reconstruct([PersonWork(frames[(number + k) % len(frames)], 1) for k in range(people)])
            times_s.append(time.perf_counter() - sent_s)
            networks_s.append(sum(done.stages_ms.values()) / 1e3)
            number += people * in_hand

    await asyncio.gather(*(batches(start * people) for start in range(in_hand)))
    took_s = time.perf_counter() - began_s
    cores = (processor_seconds() - began_cpu_s) / took_s
    return Loop(tuple(times_s), sum(networks_s) / len(networks_s), len(times_s) / took_s, cores)


async def measure_batches(
    pool: Pool, frames: Sequence[LabelFrame], seconds: float, known: dict[int, BatchFigures] | None = None
) -> dict[int, BatchFigures]:
    """Batches of all sizes.

    Args:
        known: of a pool of one replica; its speedup is kept where two batches in hand may be at different replicas.
    """
    await closed_loop(pool, frames, max(BATCH_PEOPLE), 2, _WARM_UP_S)
    found = {}
    for people in BATCH_PEOPLE:
        alone = await closed_loop(pool, frames, people, 1, seconds)
        if known is None:
            both = await closed_loop(pool, frames, people, 2, seconds)
            speedup = max(both.per_second / alone.per_second, 1.0)
        else:
            speedup = known[people].speedup
        found[people] = BatchFigures(alone.times_s, alone.networks_s, alone.cores, speedup)
    return found


async def measure_cores(
    pool: Pool, replicas: int, frames: Sequence[LabelFrame], batches: dict[int, BatchFigures], seconds: float
) -> float:
    """How many cores all replicas together have, from what they do at full load.

    Without contention they would do `replicas` times as much as one; less by the share of cores that is missing.
    """
    await closed_loop(pool, frames, max(BATCH_PEOPLE), 2 * replicas, _WARM_UP_S)
    full = await closed_loop(pool, frames, PAIR_PEOPLE, 2 * replicas, seconds)
    one = batches[PAIR_PEOPLE]
    free = replicas * one.speedup * len(one.alone_s) / sum(one.alone_s)
    wanted_cores = replicas * one.cores * one.speedup
    return min(wanted_cores * min(full.per_second / free, 1.0), float(os.cpu_count() or 1))
