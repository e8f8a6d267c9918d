"""How many crops of a photograph, and of the frames of a stream, perception is shown."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from common.arrays import Image
from sender.config import TrackerConfig
from sender.perception.detect import Detection
from sender.perception.perception_network import PerceptionNet, PerceptionOutput
from sender.perception.perception_stage import PerceptionStage
from sender.perception.predictor import ZOOMS
from tests.unit.sender.perception.test_perception_stage import (
    STAGE_CAMERA,
    TINY,
    BlockDetector,
    BlockPerception,
    BlockVerifier,
    with_person,
)


class CountingPerception(BlockPerception):
    """Notes how many crops it is shown at a time."""

    def __init__(self) -> None:
        super().__init__(PerceptionNet(TINY))
        self.looks: list[int] = []

    def look(self, crops: Sequence[Image], mirrored: Sequence[bool]) -> tuple[PerceptionOutput, Tensor]:
        self.looks.append(len(crops))
        return super().look(crops, mirrored)


def test_first_frame_of_a_source_is_seen_at_several_zooms() -> None:
    perception, looks = CountingPerception(), list[list[int]]()
    stage = PerceptionStage(BlockDetector(), perception, BlockVerifier(), TrackerConfig())
    for number in range(4):
        if number == 3:
            stage.reset()
        assert len(stage.process(with_person(100), STAGE_CAMERA)) == 1
        looks.append(perception.looks)
        perception.looks = []
    # Two looks in one view before the thorough one; in both views later.
    assert looks == [[1, 1, len(ZOOMS)], [2], [2], [1, 1, len(ZOOMS)]]


def test_what_is_left_of_hidden_people_is_not_looked_at() -> None:
    class StubbornDetector(BlockDetector):
        """Proposes everybody whom it has seen, hidden or not."""

        def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
            return super().find(with_person(100))

    detector, perception = StubbornDetector(), CountingPerception()
    stage = PerceptionStage(detector, perception, BlockVerifier(), TrackerConfig(max_people=2))
    assert len(stage.process(with_person(100), STAGE_CAMERA)) == 1
    assert detector.calls == 2 and perception.looks == [1, 1, len(ZOOMS)]


def test_who_is_proposed_twice_is_read_thoroughly_once() -> None:
    perception = CountingPerception()
    twice = BlockDetector(Detection(np.array([70, 60, 130, 180], np.float32), 0.6))
    stage = PerceptionStage(twice, perception, BlockVerifier(), TrackerConfig(max_people=3))
    assert len(stage.process(with_person(100), STAGE_CAMERA)) == 1
    # Two quick looks at both proposals, then a thorough one at the person.
    assert perception.looks[:3] == [2, 2, len(ZOOMS)]
