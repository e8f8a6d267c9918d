"""Training perception: export of a checkpoint."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from common.errors import UsageError
from common.training.checkpoint import AveragedNetwork, save_checkpoint
from sender.perception.network.network import PerceptionNet
from sender.train.perception import export, parse
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
