"""Threads of libraries, where the variables of the environment ask for more."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from common.weights import threads
from common.weights.threads import available_cores, one_thread, side_by_side

ROOT = Path(__file__).parents[4]

# Threads that appear while a worker of an executor computes what the daemons compute, in sizes that libraries share.
WORK = """
import io, os
from concurrent.futures import ThreadPoolExecutor
from common.io.startup import prepare_process
prepare_process()
import cv2, numpy, torch
from PIL import AvifImagePlugin
from common.texture import still_picture
from common.weights.threads import limit_threads
limit_threads()
assert len(torch.randperm(3, generator=torch.Generator().manual_seed(0))) == 3
large = numpy.random.default_rng(0).random((1024, 1024), numpy.float32)
tile = still_picture.encode(numpy.uint8(255 * large[:128, :128, None].repeat(3, 2)))

def compute():
    before = set(os.listdir("/proc/self/task"))
    for _ in range(3):
        torch.linalg.solve(torch.from_numpy(large), torch.from_numpy(large))
        torch.nn.functional.conv2d(torch.from_numpy(large)[None, None], torch.ones(8, 1, 3, 3))
        torch.from_numpy(large).exp().sum(0)
        cv2.GaussianBlur(cv2.resize(large, (2048, 2048)), (0, 0), 5)
        large @ large
        still_picture.decode(tile, 128)
    now = set(os.listdir("/proc/self/task"))
    # Those of the decoder of tiles end with each picture.
    return len(now - before), torch.get_num_threads(), cv2.getNumThreads(), AvifImagePlugin._get_default_max_threads()

with ThreadPoolExecutor(1) as workers:
    print(*workers.submit(compute).result())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_libraries_compute_in_the_thread_of_a_worker() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "16")
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "1", "1"]


def test_program_keeps_its_threads_after_calls_that_overlap() -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    first, second = ExitStack(), ExitStack()
    for call in (first, second):
        call.enter_context(one_thread())
        assert torch.get_num_threads() == 1
    first.close()
    second.close()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(usual)


@pytest.mark.parametrize("cores", [1, 2])
def test_work_comes_in_its_order_wherever_it_is_done(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "beside", lambda: cores)
    threads._threads.cache_clear()
    together = threading.Barrier(cores)

    def added(one: int, other: int) -> int:
        together.wait(10)
        return one + other

    assert list(side_by_side(added, [(1, 2), (3, 4)])) == [3, 7]
    threads._threads.cache_clear()


@pytest.mark.parametrize(
    ("quota", "most"),
    [("max 100000\n", 64), ("200000 100000\n", 2), ("50000 100000\n", 1), ("150000 100000\n", 1), ("", 64)],
)
def test_cores_by_affinity_and_quota(quota: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)), raising=False)
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert available_cores(file) == most
    assert available_cores(tmp_path / "missing") == 64
