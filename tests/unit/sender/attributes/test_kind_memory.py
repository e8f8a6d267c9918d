"""What views of one person add up to."""

import numpy as np

from common.arrays import FloatArray
from common.wear_kinds import VALUES
from common.wears import Wears
from sender.attributes.kinds import KindMemory


def view(**sure: float) -> dict[str, FloatArray]:
    """Uniform posteriors; `long=0.7` is the probability of a long sleeve."""
    posterior = {name: np.full(len(values), 1 / len(values), np.float32) for name, values in VALUES.items()}
    for value, share in sure.items():
        rest = (1 - share) / (len(VALUES["sleeve"]) - 1)
        posterior["sleeve"] = np.where([each == value for each in VALUES["sleeve"]], share, rest).astype(np.float32)
    return posterior


def sleeve(memory: KindMemory) -> tuple[str, float]:
    return Wears(memory.posterior).likeliest()["sleeve"]


def test_equal_views_of_a_clip_make_little_surer() -> None:
    memory = KindMemory()
    for _ in range(50):
        memory.add(view(long=0.7))
    value, share = sleeve(memory)
    assert value == "long" and 0.7 < share < 0.85


def test_clothes_change_only_after_several_contradicting_views() -> None:
    memory = KindMemory()
    memory.add(view(long=0.97))
    for _ in range(3):
        memory.add(view(short=0.97))
        assert sleeve(memory)[0] == "long"
    memory.add(view(long=0.97))
    for _ in range(3):
        memory.add(view(short=0.97))
    assert sleeve(memory)[0] == "long", "not in a row"
    memory.add(view(short=0.97))
    assert sleeve(memory)[0] == "short"
