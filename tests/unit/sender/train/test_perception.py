"""Training perception: export of a checkpoint."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from common.body.model import BodyModel, KeypointKinematics
from common.errors import UsageError
from common.training.checkpoint import AveragedNetwork, save_checkpoint
from sender.perception.network.network import PerceptionNet
from sender.train.multi_task_loss import LossWeights, MultiTaskLoss
from sender.train.perception import MixedLoss, export, parse
from tests.unit.sender.train.test_augmentation import random_crops
from tests.unit.sender.train.test_keypoint_loss import crops
from tests.unit.sender.train.test_multi_task_loss import TINY


@pytest.mark.parametrize(("before", "share"), [(0, "0.5"), (1000, "0"), (1000, "1.5"), (1000, "nan")])
def test_blend_is_refused_unless_the_training_began_with_the_shipped_weights(
    tmp_path: Path, before: int, share: str
) -> None:
    threads = ["--threads", str(torch.get_num_threads())]
    average = AveragedNetwork(PerceptionNet(TINY)).state_dict()
    facts = {"config": asdict(TINY), "before": before}
    save_checkpoint(tmp_path / "checkpoint.pt", {"average": average, "facts": facts, "spent_s": 60.0})
    with pytest.raises(UsageError, match="--blend takes a share"):
        export(parse(["--data", str(tmp_path), "--out", str(tmp_path), "--export", "--blend", share, *threads]))


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
