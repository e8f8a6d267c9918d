"""Places where the detector proposes somebody, and nobody is."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.arrays import FloatArray
from sender.perception.detect import Detector
from sender.perception.read import Verifier
from sender.train.photographs import pseudo_keypoints
from sender.train.photographs.dataset import Photograph
from sender.train.photographs.pseudo_keypoints import FalseProposals

FREE, SHARED, IN_CROWD, TINY = [10, 10, 50, 90], [100, 100, 140, 190], [160, 10, 190, 60], [60, 10, 70, 22]
PERCEPTION: Any = None


def pretend(monkeypatch: pytest.MonkeyPatch, presence: float) -> None:
    """A detector that proposes four places, and a verifier that says `presence` of each."""
    boxes = [np.array(box, np.float32) for box in (FREE, SHARED, IN_CROWD, TINY)]
    detector = SimpleNamespace(find=lambda image: [SimpleNamespace(box=box, score=0.3) for box in boxes])
    verifier = SimpleNamespace(presence=lambda output, scores: np.full(len(scores), presence))
    monkeypatch.setattr(Detector, "load", lambda: detector)
    monkeypatch.setattr(Verifier, "load", lambda: verifier)
    monkeypatch.setattr(pseudo_keypoints, "predict_in_boxes", lambda *_: SimpleNamespace(output=None))


def photograph() -> Photograph:
    person, crowd = np.array([[110, 105, 150, 200]], np.float32), np.array([[150, 0, 200, 80]], np.float32)
    return Photograph(
        "people", "one", np.zeros((200, 200, 3), np.uint8), person, crowd, np.zeros((1, 17, 3), np.float32)
    )


def found(monkeypatch: pytest.MonkeyPatch, presence: float) -> FloatArray:
    pretend(monkeypatch, presence)
    return FalseProposals(PERCEPTION).of(photograph())


def test_places_outside_of_annotated_boxes_and_crowds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, 0.1).tolist() == [FREE]


def test_somebody_who_lacks_an_annotation_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, 0.6).shape == (0, 4)
