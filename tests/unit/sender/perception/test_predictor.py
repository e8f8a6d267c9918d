from dataclasses import replace

import numpy as np
import pytest

from sender.perception.perception_network import PerceptionConfig, PerceptionNet
from sender.perception.predictor import Perception

TINY = PerceptionConfig(size=64, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.mark.parametrize(("side", "seen"), [(48, 64), (96, 96), (128, 64)])
def test_crops_of_another_size_than_those_of_use_are_resampled(side: int, seen: int) -> None:
    perception = Perception(PerceptionNet(replace(TINY, still_size=96)))
    sides: list[tuple[int, ...]] = []
    perception.net.stem.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape))
    perception.observe([np.zeros((side, side, 3), dtype=np.uint8)])
    assert sides == [(2, 3, seen, seen)]


@pytest.mark.parametrize("shapes", [[], [(64, 32, 3)], [(64, 64)], [(64, 64, 3), (32, 32, 3)]])
def test_observe_rejects_what_is_no_batch_of_squares(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected square crops of one size"):
        Perception(PerceptionNet(TINY)).observe([np.zeros(shape, dtype=np.uint8) for shape in shapes])
