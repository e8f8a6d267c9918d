"""The detector's scores: matching, recall, false detections and average precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sender.perception.inference.detector import DetectorConfig, DetectorNet
from sender.train.frames.scores import Matches, in_evaluation, match, photograph_scores
from sender.train.photographs.dataset import PhotographDataset, convert
from tests.support.pictures.photograph_sources import write_photographs


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, np.float32).reshape(-1, 4)


def test_best_detection_gets_the_person_and_the_second_is_false() -> None:
    found = boxes((0, 0, 10, 20), (0, 0, 10, 19), (30, 0, 40, 20))
    person, counts = match(boxes((0, 0, 10, 20)), boxes(), found)
    assert person.tolist() == [0, -1, -1]
    assert counts.all()


def test_unmatched_detection_in_a_crowd_does_not_count() -> None:
    found = boxes((0, 0, 10, 20), (50, 0, 60, 20))
    person, counts = match(boxes(), boxes((0, 0, 40, 40)), found)
    assert person.tolist() == [-1, -1]
    assert counts.tolist() == [False, True]


def example() -> Matches:
    return Matches(
        height=np.array([100, 200, 50], np.float32),
        person_score=np.array([0.9, 0.0, 0.3], np.float32),
        score=np.array([0.9, 0.6, 0.3, 0.2], np.float32),
        true=np.array([True, False, True, False]),
        person_height=np.array([100, 120, 50, 30], np.float32),
        pictures=2,
    )


def test_recall_and_false_detections_at_a_score() -> None:
    matches = example()
    assert matches.recall(0.25) == pytest.approx(2 / 3)
    assert matches.recall(0.5) == pytest.approx(1 / 3)
    assert matches.recall(0.25, 80) == pytest.approx(1 / 2)
    assert matches.false(0.25) == pytest.approx(0.5)


def test_average_precision_ignores_small_people() -> None:
    matches = example()
    assert matches.average_precision() == pytest.approx((1 + 2 / 3) / 3)
    assert matches.average_precision(80) == pytest.approx(1 / 2)


def test_scores_of_a_network_on_photographs(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    torch.manual_seed(0)
    net = DetectorNet(DetectorConfig(size=64, width=8))
    scores = photograph_scores(in_evaluation(net), PhotographDataset(tmp_path / "out", "val"), 64)
    assert scores["people_large_found_0.25"] == 0
    assert scores["panoramas_false_0.25"] == 0
