from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import WeightsError
from common.weights.loader import save_weights
from sender.perception.inference.predictor import WEIGHTS_NAME, Perception, architecture
from sender.perception.network.network import PerceptionConfig, PerceptionNet

TINY = PerceptionConfig(size=64, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


def test_load_round_trip(tmp_path: Path) -> None:
    net = PerceptionNet(TINY)
    save_weights(WEIGHTS_NAME, net.state_dict(), architecture(TINY), {}, {}, storage="float32", directory=tmp_path)
    loaded = Perception.load(tmp_path)
    assert loaded.size == 64
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(loaded.net(image).joints_3d, net.eval()(image).joints_3d, atol=1e-5)


def test_observe_of_several_crops() -> None:
    perception = Perception(PerceptionNet(TINY))
    crops = list(np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8))
    output = perception.observe(crops)
    assert len(output) == 3
    assert torch.isfinite(output.features()).all()
    assert output.features().dtype == torch.float32


@pytest.mark.parametrize("side", [48, 128])
def test_crops_of_another_size_are_resampled(side: int) -> None:
    perception = Perception(PerceptionNet(TINY))
    sides: list[tuple[int, ...]] = []
    perception.net.stem.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape))
    perception.observe([np.zeros((side, side, 3), dtype=np.uint8)])
    assert sides == [(2, 3, 64, 64)]


@pytest.mark.parametrize("shapes", [[], [(64, 32, 3)], [(64, 64)], [(64, 64, 3), (32, 32, 3)]])
def test_observe_rejects_what_is_no_batch_of_squares(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected square crops of one size"):
        Perception(PerceptionNet(TINY)).observe([np.zeros(shape, dtype=np.uint8) for shape in shapes])


@pytest.mark.parametrize(
    "recorded", [{"kind": "other"}, {**architecture(TINY), "parts": 3}, {**architecture(TINY), "a": 1}]
)
def test_load_of_another_version(tmp_path: Path, recorded: dict[str, object]) -> None:
    save_weights(WEIGHTS_NAME, PerceptionNet(TINY).state_dict(), recorded, {}, {}, directory=tmp_path)
    with pytest.raises(WeightsError, match="another version"):
        Perception.load(tmp_path)


def test_load_of_weights_of_other_shapes(tmp_path: Path) -> None:
    save_weights(WEIGHTS_NAME, {"x": torch.zeros(1)}, architecture(TINY), {}, {}, directory=tmp_path)
    with pytest.raises(WeightsError, match="another version"):
        Perception.load(tmp_path)
