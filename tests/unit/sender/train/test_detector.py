"""Training the detector: what is refused before it begins."""

from pathlib import Path

import pytest
import torch

from common.errors import SourceError
from sender.train.detector import parse, train


def test_a_folder_without_held_out_people_is_refused_before_the_training_and_not_after(tmp_path: Path) -> None:
    (tmp_path / "train-0000").mkdir()
    with pytest.raises(SourceError, match="no val images"):
        train(parse(["--data", str(tmp_path), "--threads", str(torch.get_num_threads())]))
