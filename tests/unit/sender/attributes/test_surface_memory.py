import math

import numpy as np
import pytest

from common.arrays import FloatArray
from sender.attributes.surface import SurfaceMemory

E = 24
TRUTH = np.linspace(-2, 2, E).astype(np.float32)


def view_of(truth: FloatArray, error: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and variance of a view whose measurement has a standard deviation of `error`."""
    variance = 1 / (1 + error**-2)
    mean = variance * (truth + error * rng.normal(size=E)) / error**2
    return mean.astype(np.float32), np.full(E, variance, np.float32)


def test_views_from_all_directions_beat_one_view() -> None:
    rng, errors = np.random.default_rng(1), []
    for count in (1, 8):
        squared = []
        for _ in range(50):
            memory, truth = SurfaceMemory(), rng.normal(size=E).astype(np.float32)
            for turn in range(count):
                memory.add(*view_of(truth, 1.0, rng), turn * math.pi / 4)
            squared.append(float(np.square(memory.estimate[0] - truth).mean()))
        errors.append(np.mean(squared))
    # Mean squares 0.5 and 0.15.
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("strangers", [1, 3])
def test_other_clothes_replace_the_memory_if_several_views_show_them(strangers: int) -> None:
    rng, memory = np.random.default_rng(2), SurfaceMemory()
    for turn in range(8):
        memory.add(*view_of(TRUTH, 0.3, rng), turn * math.pi / 4)
    for _ in range(strangers):
        memory.add(*view_of(-TRUTH, 0.3, rng), 0.0)
    nearer = np.abs(memory.estimate[0] + TRUTH).mean() < np.abs(memory.estimate[0] - TRUTH).mean()
    assert nearer == (strangers == 3)
