"""Keypoints that perception and MoveNet give to people with boxes only."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from common.arrays import Box, FloatArray, Image
from common.errors import UsageError
from sender.perception.crop import CropBox
from sender.train.crops import people_of
from sender.train.photographs import pseudo_keypoints
from sender.train.photographs.dataset import PSEUDO, Photograph, PhotographDataset
from sender.train.photographs.dataset import convert as convert_photographs
from sender.train.photographs.pseudo_keypoints import certain, convert
from tests.support.pictures.photograph_sources import write_photographs

PERCEPTION: Any = None


def pretended(_: Any, image: Image, boxes: list[Box], *, thorough: bool) -> SimpleNamespace:
    """Everybody's keypoints in the middle of the crop: the first six certain, the sixth outside."""
    assert thorough
    crops = [CropBox.around(box) for box in boxes]
    places = torch.full((len(crops), 17, 2), 0.5)
    places[:, 5] = 9.0
    sigma = torch.full((len(crops), 17), 0.1)
    sigma[:, :6] = 0.02
    return SimpleNamespace(crops=crops, output=SimpleNamespace(keypoints_2d=places, keypoints_sigma=sigma))


class PretendedProposals:
    """Nobody is in the upper left corner."""

    def __init__(self, perception: Any) -> None:
        assert perception is PERCEPTION

    def of(self, item: Photograph) -> FloatArray:
        assert item.source != "panoramas"
        return np.array([[0, 0, 8, 10]], np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pseudo_keypoints, "predict_in_boxes", pretended)
    monkeypatch.setattr(pseudo_keypoints, "FalseProposals", PretendedProposals)
    convert_photographs(write_photographs(tmp_path), tmp_path / "photographs")
    return tmp_path / "photographs"


def labels(sigma: FloatArray) -> FloatArray:
    return certain(np.ones((17, 2), np.float32), sigma, (9, 9))[:, 2]


def everywhere(sigma: float) -> FloatArray:
    return np.full(17, sigma, np.float32)


def test_training_people_with_boxes_only_get_certain_keypoints(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pseudo"
    convert(folder, out, PERCEPTION)
    before, after = (PhotographDataset(path, "train") for path in (folder, out))
    index = after.indices("openimages")[0]
    item = after[index]
    centre = (item.boxes[0, :2] + item.boxes[0, 2:]) / 2
    assert np.abs(item.keypoints[0, :5, :2] - centre).max() <= 1
    assert item.keypoints[0, :, 2].tolist() == 5 * [PSEUDO] + 12 * [0]
    assert np.array_equal(item.image, before[index].image)
    assert [len(people_of(each, source="openimages")) for each in (before, after)] == [0, 11]
    assert len(people_of(after)) == len(people_of(before)) == 11
    assert sum(int((after[each].keypoints[..., 2] == PSEUDO).sum()) for each in after.indices("openimages")) == 55


def test_everything_else_stays_as_it_was(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "pseudo", PERCEPTION)
    before, after = (json.loads((path / "index.json").read_text()) for path in (folder, tmp_path / "pseudo"))
    for old, new in zip(before["photographs"], after["photographs"], strict=True):
        if (new["source"], new["split"]) == ("openimages", "train"):
            assert new.pop("keypoints")
        if new["source"] != "panoramas" and new["split"] == "train":
            assert new.pop("nobody") == [[0, 0, 8, 10]]
        assert new == old


def test_person_of_low_mean_certainty_gets_nothing() -> None:
    sigma = everywhere(0.3)
    sigma[:5] = 0.01
    assert not labels(sigma).any()
    sigma[5:] = 0.1
    assert (labels(sigma) == PSEUDO).sum() == 5


def test_folder_is_not_written_over_itself(folder: Path) -> None:
    with pytest.raises(UsageError, match="another one"):
        convert(folder, folder, PERCEPTION)
