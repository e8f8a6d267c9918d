"""Training the detector: input is checked before it begins, and the shipped weights can be extended."""

from pathlib import Path

import pytest
import torch

from common.errors import SourceError
from sender.perception.inference.detector import Detector
from sender.train.detector import initial_network, parse, train


def test_missing_validation_split_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "train-0000").mkdir()
    with pytest.raises(SourceError, match="no val images"):
        train(parse(["--data", str(tmp_path), "--threads", str(torch.get_num_threads())]))


def test_added_blocks_do_not_change_the_shipped_network() -> None:
    shipped = Detector.load().net
    more = shipped.config.refinements + 2
    extended = initial_network(parse(["--data", "x", "--shipped", "--refinements", str(more)])).eval()
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        for first, second in zip(shipped(image), extended(image), strict=True):
            assert torch.allclose(first, second, atol=1e-5)
    assert extended.config.refinements == more
