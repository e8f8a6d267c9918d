"""The training of the completion of atlases, with a tiny network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import receiver.train.atlas_completion as training
from common.body.model import BodyModel
from common.errors import SourceError
from common.texture.atlas import AtlasLayout
from common.training.run import parse
from common.weights.loader import load_recorded
from receiver.texture import atlas_completion
from receiver.texture.atlas_completion import (
    COMPLETION_SIZE,
    DIFFERENCE,
    KIND,
    WEIGHTS_NAME,
    CompletionConfig,
    CompletionNetwork,
)
from tests.support.tiny_completion import TINY, tiny_completion
from tests.support.training_examples import train_on_gpu

SIDE = COMPLETION_SIZE


@pytest.fixture(scope="module")
def layout() -> AtlasLayout:
    return AtlasLayout.from_body(BodyModel.load())


def people(count: int) -> training.ObservedAtlases:
    """Grey people of whom the left half of the atlas is known, in half of the true brightness."""
    whole = np.full((count, SIDE, SIDE, 4), 255, np.uint8)
    whole[..., :3] = 160
    known = np.zeros((count, 4, SIDE, SIDE, 4), np.uint8)
    known[:, :, :, : SIDE // 2] = [80, 80, 80, 255]
    return training.ObservedAtlases(known, whole)


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a training of a tiny network on four people."""
    monkeypatch.setattr(atlas_completion, "load_network", tiny_completion)
    for split, count in (("train", 4), ("val", 1)):
        (tmp_path / split).mkdir()
        atlases = people(count)
        np.savez(tmp_path / split / "0.npz", known=atlases.known, whole=atlases.whole)
    return ["--data", str(tmp_path / "train"), "--validation", str(tmp_path / "val"), "--batch", "2", "--shipped"]


def test_goes_on_from_shipped_weights_and_exports(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, shipped = tmp_path / "out", tiny_completion()
    _, document = train_on_gpu(monkeypatch, training.AtlasCompletionTraining, out, *flags, "--rate", "1e-6")
    assert (document["samples"], document["people"]) == (4, 4)
    found = load_recorded(WEIGHTS_NAME, KIND, CompletionConfig, CompletionNetwork, out / "weights")
    assert found.config == TINY
    for name, value in shipped.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-2, atol=3e-3)


def test_truth_gets_the_brightness_of_what_is_known(layout: AtlasLayout) -> None:
    sampler = training.Sampler(people(1), layout)
    nothing = np.zeros((SIDE, SIDE), np.bool_)
    _, difference, weight = sampler.sample(0, 0, nothing, np.ones(3, np.float32))
    # Half of 160 is below the smallest factor, 0.6, which is used; what is known is 80.
    skin = weight[0] > 0
    torch.testing.assert_close(
        difference[:, skin], torch.full((3, int(skin.sum())), (0.6 * 160 - 80) / 255 / DIFFERENCE), rtol=1e-3, atol=1e-3
    )
    assert {round(value, 2) for value in weight.unique().tolist()} == {0.0, 0.2, 1.0}


def test_loss_of_a_perfect_network_is_zero_and_ignores_what_has_no_truth(layout: AtlasLayout) -> None:
    batch = training.Sampler(people(2), layout).all_of_choice(0)

    class Perfect(torch.nn.Module):
        def forward(self, point: Tensor, condition: Tensor, time: Tensor) -> Tensor:
            return batch.difference + 5 * (batch.weight == 0)

    class Off(Perfect):
        def forward(self, point: Tensor, condition: Tensor, time: Tensor) -> Tensor:
            return super().forward(point, condition, time) + 1

    assert float(training.step_loss(Perfect(), batch)) == 0
    assert float(training.step_loss(Off(), batch)) >= 1


def test_folder_without_atlases_is_an_error(flags: list[str], tmp_path: Path) -> None:
    options = parse(training.AtlasCompletionTraining, flags)
    recipe = training.AtlasCompletionTraining(options, torch.device("cpu"))
    (tmp_path / "train" / "0.npz").write_bytes(b"PK\x03\x04damaged")
    with pytest.raises(SourceError, match="cannot read"):
        recipe.prepare()
    (tmp_path / "train" / "0.npz").unlink()
    with pytest.raises(SourceError, match=r"atlases\.observed"):
        recipe.prepare()
