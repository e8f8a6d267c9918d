"""Threads and instructions of the networks, and the option of their device.

How many threads the libraries use: decided here for both daemons, the replicas of the pool, and `bodywire`.

A frame is many steps of a millisecond or less.  Shared among threads, each waits for its slowest one, and the others
spin meanwhile: sixteen threads took as long as one, and the processor time of sixteen.  So a library computes in the
thread that calls it, and the daemons overlap frames, networks and surfaces in threads of their own, of which those that
grow with the machine are no more than its cores.  Steps of a photograph, which has no other frames beside it, are
computed `side_by_side`.  `common.io.startup.prepare_process` has the limit of NumPy's library, which reads it when it
is loaded.
"""

import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """The device that networks run on.

    Args:
        device: `auto` (the first CUDA GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
    """

    device: str = option("auto", help="where networks run: auto (a GPU if present), cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"unknown device {self.device!r}; choose auto, cpu, cuda or cuda:N")


def instructions_limit() -> str:
    """The instructions that `ONEDNN_MAX_CPU_ISA` limits OpenVINO and PyTorch to, in capitals; empty without a limit.

    It makes a machine compute as an older one does: `AVX512_CORE` is without VNNI.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return "" if limit in ("DEFAULT", "ALL") else limit


T = TypeVar("T")

_MOST_BESIDE = 4
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# For each thread inside of `one_thread`, how many threads PyTorch has outside.
_inside: list[int] = []
_lock = threading.Lock()


def limit_threads() -> None:
    """Libraries compute in the thread that calls them, in every thread of this process."""
    # Imported here: `available_cores` needs none of them.
    import cv2
    import torch
    from PIL import AvifImagePlugin

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # Of the decoder of texture tiles, which otherwise starts one a core for each tile.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes in the thread that calls it, and in those that start meanwhile: in a program of others."""
    import torch

    with _lock:
        usual = _inside[0] if _inside else torch.get_num_threads()
        _inside.append(usual)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
        torch.set_num_threads(usual)


def side_by_side(work: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> Iterator[T]:
    """What `work` gives for each of several arguments, in their order; several are computed at a time.

    It must not wait for others of these threads, which might all wait then.
    """
    if len(arguments) < 2 or beside() < 2:
        return itertools.starmap(work, arguments)
    return _threads().map(work, *zip(*arguments, strict=True))


def beside() -> int:
    """How many are computed at a time."""
    return min(_MOST_BESIDE, available_cores())


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(beside(), "beside")


def available_cores(quota: Path = _CPU_QUOTA) -> int:
    """Cores that this process may use, at least 1: by its affinity, and by the quota of its control group (Linux)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most_us, period_us = quota.read_text().split()
        cores = min(cores, int(most_us) // int(period_us))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # there is none: "max"
    return max(cores, 1)
