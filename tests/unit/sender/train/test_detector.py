"""Training the detector: input is checked before it begins."""

from pathlib import Path

import pytest
import torch

from common.errors import SourceError
from sender.train.detector import parse, train


def test_missing_validation_split_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "train-0000").mkdir()
    with pytest.raises(SourceError, match="no val images"):
        train(parse(["--data", str(tmp_path), "--threads", str(torch.get_num_threads())]))
