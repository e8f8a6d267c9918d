"""Photographs to train on: conversion, the split, and what is read back."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import SourceError
from sender.train.photographs.dataset import PhotographDataset, convert, held_out, is_crowd, scaled
from tests.support.pictures.photograph_sources import write_photographs


def test_photographs_are_read_back_as_they_were(tmp_path: Path) -> None:
    assert convert(write_photographs(tmp_path), tmp_path / "out") == 39
    train, val = (PhotographDataset(tmp_path / "out", split) for split in ("train", "val"))
    assert [len(part.indices("people")) for part in (train, val)] == [11, 2]
    assert [len(part.indices("panoramas")) for part in (train, val)] == [11, 2]
    item = train[train.indices("people")[0]]
    left, top, right, bottom = item.boxes[0].astype(int)
    assert (right - left, bottom - top) == (32, 64)
    assert (item.image[top:bottom, left:right] == (255, 0, 0)).all()
    assert item.keypoints[0, 3].tolist() == [left + 3, top + 9, 2]
    assert item.keypoints[0, 0, 2] == 0
    stretched = train[train.indices("openimages")[0]]
    assert stretched.image.shape == (96, 96, 3)
    assert stretched.boxes[0, 2:] - stretched.boxes[0, :2] == pytest.approx([24, 64], abs=0.2)


def test_validation_split_depends_on_the_name_only() -> None:
    names = [f"{number:012}.jpg" for number in range(604)]
    assert len(held_out(names)) == 100
    assert held_out(names) == held_out(names[::-1])


def test_large_photograph_is_scaled_with_its_annotations(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path, 2), tmp_path / "out")
    item = PhotographDataset(tmp_path / "out", "train")[0]
    half = scaled(item, 64)
    assert half.image.shape == (48, 64, 3)
    assert half.boxes == pytest.approx(item.boxes / 2)
    assert half.keypoints[..., :2] == pytest.approx(item.keypoints[..., :2] / 2)
    assert np.array_equal(half.keypoints[..., 2], item.keypoints[..., 2])
    assert scaled(item, 128) is item


def test_wide_boxes_and_those_around_others_are_crowds() -> None:
    boxes = np.array([[0, 0, 1, 0.5], [0, 0, 0.5, 0.9], [0, 0.1, 0.2, 0.8], [0.2, 0.1, 0.4, 0.8]], np.float32)
    assert is_crowd(boxes).tolist() == [True, True, False, False]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no photographs in"):
        PhotographDataset(tmp_path, "train")
    with pytest.raises(SourceError, match="cannot read the annotations"):
        convert({"people": tmp_path}, tmp_path / "out")
