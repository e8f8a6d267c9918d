"""Training perception: export of a checkpoint."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from common.body.model import BodyModel, KeypointKinematics
from common.errors import UsageError
from common.training.checkpoint import AveragedNetwork, load_checkpoint, save_checkpoint
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.train.multi_task_loss import LossWeights, MultiTaskLoss
from sender.train.perception import MixedLoss, export, initial_network, origin, parse
from tests.unit.sender.train.test_augmentation import random_crops
from tests.unit.sender.train.test_keypoint_loss import crops
from tests.unit.sender.train.test_multi_task_loss import TINY


@pytest.mark.parametrize(("shipped", "share"), [(False, "0.5"), (True, "0"), (True, "1.5"), (True, "nan")])
def test_blend_is_refused_unless_the_training_began_with_the_shipped_weights(
    tmp_path: Path, shipped: bool, share: str
) -> None:
    threads = ["--threads", str(torch.get_num_threads())]
    average = AveragedNetwork(PerceptionNet(TINY)).state_dict()
    facts = {"config": asdict(TINY), "before": 1000, "shipped": shipped}
    save_checkpoint(tmp_path / "checkpoint.pt", {"average": average, "facts": facts, "spent_s": 60.0})
    with pytest.raises(UsageError, match="--blend takes a share"):
        export(parse(["--data", str(tmp_path), "--out", str(tmp_path), "--export", "--blend", share, *threads]))


def test_a_later_stage_starts_from_the_average_of_an_earlier_one(tmp_path: Path) -> None:
    average = AveragedNetwork(PerceptionNet(PerceptionConfig()))
    state = {"average": average.state_dict(), "facts": {"before": 1000, "shipped": True}, "samples": 64}
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    options = parse(["--data", str(tmp_path), "--start", str(tmp_path), "--size", "192"])
    earlier = load_checkpoint(options.start / "checkpoint.pt")
    net = initial_network(options, torch.device("cpu"), earlier)
    assert net.config.size == 192
    for name, value in net.state_dict().items():
        assert torch.equal(value, average.network.state_dict()[name]), name
    assert origin(options, earlier) == {"before": 1064, "shipped": True}


def test_rendered_crops_are_resampled_with_their_maps() -> None:
    batch = random_crops(BodyModel.load())
    larger = batch.resized(2 * batch.image.shape[-1])
    assert larger.image.shape[-1] == 2 * batch.image.shape[-1]
    assert larger.mask.shape[-1] == larger.depth.shape[-1] == larger.part.shape[-1] == larger.image.shape[-1] // 2
    assert torch.equal(larger.part[:, ::2, ::2], batch.part)
    assert torch.equal(larger.depth[:, 1::2, 1::2], batch.depth)
    torch.testing.assert_close(larger.mask.mean(), batch.mask.mean(), atol=1e-3, rtol=0)
    assert batch.resized(batch.image.shape[-1]) is batch


def test_loss_of_a_mixed_batch_has_the_terms_of_both_worlds() -> None:
    body = BodyModel.load()
    net, rendered = PerceptionNet(TINY), random_crops(body)
    loss_of = MixedLoss(MultiTaskLoss(KeypointKinematics(body), LossWeights()))
    loss, terms = loss_of(net, rendered, crops(len(rendered)))
    assert {"mask.dice", "depth.l1", "photographs.heat", "photographs.skeleton"} <= terms.keys()
    loss.backward()
    alone, terms = loss_of(net.eval(), rendered, None)
    assert alone.isfinite()
    assert not any(name.startswith("photographs") for name in terms)


def test_ablation_leaves_the_photographs_of_a_head_out_too() -> None:
    body = BodyModel.load()
    weights = LossWeights().without("keypoints").without("depth").without("mask").without("pose")
    loss_of = MixedLoss(MultiTaskLoss(KeypointKinematics(body), weights))
    rendered = random_crops(body)
    loss, _ = loss_of(PerceptionNet(TINY), rendered, crops(len(rendered)))
    assert loss.item() == 0
