"""A trunk from timm's weights: which parts are transferred, and what is refused."""

from typing import Any

import pytest
import timm
import torch

from common.errors import WeightsError
from common.training.run import parse
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.train import pretrained
from sender.train.perception import PerceptionTraining
from sender.train.pretrained import fetch, transplant

CONFIG = PerceptionConfig(size=64, width=192, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


def test_blocks_and_positions_are_transferred_and_the_rest_stays() -> None:
    torch.manual_seed(0)
    model: Any = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    net = PerceptionNet(CONFIG)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    transplant(model, net)
    for index in range(CONFIG.depth):
        pretrained_block = model.blocks[index].state_dict()
        assert all(torch.equal(value, pretrained_block[name]) for name, value in net.blocks[index].state_dict().items())
    # The grid is neither rotated nor shifted by the class token.
    grid = model.pos_embed[0, 1:].T.unflatten(1, (14, 14))
    transferred = net.position.shared.detach()[0]
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        similarity = torch.nn.functional.cosine_similarity(transferred[:, row, column], grid.reshape(192, -1).T, dim=1)
        best = divmod(int(similarity.argmax()), 14)
        assert abs(best[0] - row % 14) <= 2
        assert abs(best[1] - column % 14) <= 2
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith(("blocks.", "position.shared")) for name in changed)


@pytest.mark.parametrize("name", ["vit_small_patch16_224", "resnet18"])
def test_other_models_are_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="--pretrained takes"):
        transplant(timm.create_model(name, pretrained=False), PerceptionNet(CONFIG))


def test_too_few_blocks_are_refused() -> None:
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=1)
    with pytest.raises(WeightsError, match="2 or more blocks"):
        transplant(model, PerceptionNet(CONFIG))


def test_missing_internet_access_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(WeightsError, match="no route to host; --pretrained needs internet access"):
        fetch("vit_tiny_patch16_224")


def test_flag_has_a_default_model_and_takes_a_name() -> None:
    other = "vit_tiny_patch16_384"
    for flags, model in (([], None), (["--pretrained"], pretrained.DEFAULT), (["--pretrained", other], other)):
        assert parse(PerceptionTraining, ["--data", "x", *flags]).pretrained == model
