from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from sender.capture.open import DEMO_CLIP
from sender.capture.video import VideoFileSource
from sender.perception.detect import Detector
from sender.perception.perception_network import FusedOutput, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, predict_in_boxes


@pytest.fixture(scope="module")
def predictions() -> PerceptionOutput:
    """Of a person, of their feet, and of the background."""
    with VideoFileSource(DEMO_CLIP) as source:
        image = next(iter(source)).image
    person = Detector.load().find(image)[0].box
    width, height = person[2] - person[0], person[3] - person[1]
    feet = np.array([person[0], person[3] - 0.15 * height, person[2], person[3]], np.float32)
    corner = np.array([0, 0, width / 2, height / 2], np.float32)
    return predict_in_boxes(Perception.load(), image, [person, feet, corner]).output


def test_shipped_verifier_separates_person_from_background(predictions: PerceptionOutput) -> None:
    whole, part, background = Verifier.load().presence(predictions, 0.5)
    assert whole > 0.8
    assert background < 0.2
    assert part < whole


def test_second_opinion_counts_by_its_five_surest_keypoints(predictions: PerceptionOutput) -> None:
    assert isinstance(predictions, FusedOutput)
    verifier = Verifier.load()

    def presence(sure: int) -> FloatArray:
        scores = torch.full_like(predictions.second_score, 0.02)
        scores[:, 12 : 12 + sure] = 0.9
        return verifier.presence(replace(predictions, second_score=scores), 0.5)

    none, four, five = presence(0), presence(4), presence(5)
    assert (five > four).all() and (four > none).all()
