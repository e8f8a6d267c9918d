"""The detector's scores: who is proposed, and what else."""

import numpy as np
import pytest

from common.arrays import FloatArray, Image
from sender.perception.detect import Detection, Detector, NanoDetConfig
from sender.train.photographs.composed import proposal_scores
from sender.train.photographs.dataset import Photograph


def boxes(*corners: tuple[float, float, float, float]) -> FloatArray:
    return np.array(corners, np.float32).reshape(-1, 4)


class ScriptedDetector(Detector):
    def __init__(self, found: FloatArray) -> None:
        super().__init__(NanoDetConfig(), lambda *_: pytest.fail("computed"))
        self._proposed = found

    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        return tuple(Detection(box, 0.5) for box in self._proposed)


def scores_of(people: FloatArray, crowds: FloatArray, found: FloatArray) -> dict[str, float]:
    picture = np.zeros((200, 200, 3), np.uint8)
    item = Photograph("people", "one", picture, people, crowds, np.zeros((len(people), 17, 3), np.float32))
    return proposal_scores(ScriptedDetector(found), [item])


def test_tall_people_are_proposed_or_missed_and_small_ones_not_asked_for() -> None:
    people = boxes((0, 0, 50, 100), (100, 0, 150, 100), (0, 150, 20, 190))
    scores = scores_of(people, boxes(), boxes((0, 0, 50, 90), (0, 0, 50, 99), (160, 150, 190, 190)))
    assert scores["people_found"] == 0.5
    assert scores["people_others"] == 1


def test_proposal_in_a_crowd_is_no_other() -> None:
    scores = scores_of(boxes(), boxes((0, 0, 40, 40)), boxes((0, 0, 10, 20), (50, 0, 60, 20)))
    assert scores["people_others"] == 1
