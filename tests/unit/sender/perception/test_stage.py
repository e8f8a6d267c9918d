"""Finding, following and losing people over frames, with networks that answer as told."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from common.arrays import FloatArray, Image
from common.frames import Camera
from sender.perception.inference.crop import CropBox
from sender.perception.inference.detector import Detection, Detector, DetectorConfig, DetectorNet
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import one, person_box
from sender.perception.inference.verifier import Verifier, VerifierConfig, VerifierNet
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import PerceptionStage, TrackingConfig, follow

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
CAMERA = Camera(320, 240, 400.0)
EMPTY: Image = np.zeros((240, 320, 3), dtype=np.uint8)


def with_person(x: int, colour: int = 255) -> Image:
    """A frame with somebody: a block of one colour, 40 by 100 pixels."""
    image = EMPTY.copy()
    image[70:170, x - 20 : x + 20] = colour
    return image


class BlockDetector(Detector):
    """Finds blocks of bright pixels."""

    def __init__(self) -> None:
        super().__init__(DetectorNet(DetectorConfig(size=32, width=8)))
        self.searched = 0

    def find(self, image: Image) -> tuple[Detection, ...]:
        self.searched += 1
        columns = np.flatnonzero((image > 0).any(axis=(0, 2)))
        if not len(columns):
            return ()
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        return tuple(Detection(np.array([run[0], 70, run[-1] + 1, 170], dtype=np.float32), 0.9) for run in runs)


class BlockPerception(Perception):
    """Sees a block of bright pixels as a person with sharp keypoints, and darkness as nobody."""

    def observe(self, crops: Sequence[Image]) -> PerceptionOutput:
        output = super().observe(crops)
        masks = torch.from_numpy(np.stack([(crop[::2, ::2] > 0).any(axis=2) for crop in crops]))
        places = torch.full_like(output.keypoints_2d, 0.5)
        for row, mask in enumerate(masks):
            if mask.any():
                y, x = torch.nonzero(mask, as_tuple=True)
                cell = torch.stack([x, y], dim=-1).float() + 0.5
                places[row] = cell[torch.linspace(0, len(cell) - 1, 17).long()] / mask.shape[-1]
        return replace(
            output,
            mask_logits=torch.where(masks, 5.0, -5.0),
            visible_logit=torch.where(masks.flatten(1).any(dim=1), 4.0, -6.0)[:, None].expand(-1, 17),
            keypoints_2d=places,
            keypoints_sigma=torch.full_like(output.keypoints_sigma, 0.02),
        )


class BlockVerifier(Verifier):
    """Takes every crop with something bright in it for a person."""

    def __init__(self) -> None:
        super().__init__(VerifierNet(VerifierConfig()))
        self.asked = 0

    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        self.asked += len(output)
        shown = (output.mask_logits > 0).flatten(1).any(dim=1)
        return np.asarray(torch.where(shown, 0.95, 0.05).numpy(), dtype=np.float32)


def stage_for(people: int) -> tuple[PerceptionStage, BlockDetector]:
    detector = BlockDetector()
    return staged(detector, people), detector


def staged(detector: Detector, people: int = 1, verifier: Verifier | None = None) -> PerceptionStage:
    perception = BlockPerception(PerceptionNet(TINY))
    return PerceptionStage(detector, perception, verifier or BlockVerifier(), TrackingConfig(max_people=people))


def test_nobody_in_an_empty_frame() -> None:
    stage, _ = stage_for(1)
    assert stage.process(EMPTY, CAMERA) == ()


def test_a_rough_box_is_put_right_before_anybody_is_seen_in_it() -> None:
    class Rough(BlockDetector):
        def find(self, image: Image) -> tuple[Detection, ...]:
            return tuple(
                Detection(each.box + np.array([-30, -10, 10, 20], np.float32), each.score)
                for each in super().find(image)
            )

    stage = staged(Rough())
    (person,) = stage.process(with_person(160), CAMERA)
    assert person.crop.centre == pytest.approx((160, 120), abs=6)
    assert person.crop.side == pytest.approx(125, abs=13)


def test_follows_a_walker_without_searching_every_frame() -> None:
    stage, detector = stage_for(1)
    for x in range(60, 240, 6):
        (person,) = stage.process(with_person(x), CAMERA)
        assert person.identity == 0
        assert person.crop.left < x < person.crop.left + person.crop.side
        assert abs(person.crop.centre[0] - x) < 25
        assert len(person.output) == 1
        assert person.score > 0.5
    assert detector.searched == 3


def test_someone_who_leaves_is_gone_and_found_again() -> None:
    stage, _ = stage_for(1)
    assert len(stage.process(with_person(100), CAMERA)) == 1
    assert stage.process(EMPTY, CAMERA) == ()
    assert stage.process(EMPTY, CAMERA) == ()
    (person,) = stage.process(with_person(110), CAMERA)
    assert person.identity == 0


def test_reset_starts_anew() -> None:
    stage, _ = stage_for(1)
    stage.process(with_person(100), CAMERA)
    stage.reset()
    (person,) = stage.process(with_person(100), CAMERA)
    assert person.identity == 1


def test_two_people_are_observed_together() -> None:
    stage, _ = stage_for(2)
    image = np.maximum(with_person(80), with_person(240, colour=90))
    people = stage.process(image, CAMERA)
    assert {person.identity for person in people} == {0, 1}


def test_max_people_bounds_them() -> None:
    stage, _ = stage_for(1)
    assert len(stage.process(np.maximum(with_person(80), with_person(240)), CAMERA)) == 1


def test_box_of_a_person_surrounds_the_mask() -> None:
    perception = BlockPerception(PerceptionNet(TINY))
    crop = CropBox(60, 60, 128)
    box = person_box(perception.observe([crop.cut(with_person(120), 32)]), crop)
    assert box == pytest.approx(np.array([100, 70, 140, 170]), abs=9)


class Dreamer(BlockDetector):
    """Finds somebody in every frame, always in the same dark corner."""

    def find(self, image: Image) -> tuple[Detection, ...]:
        return (*super().find(image), Detection(np.array([250, 20, 310, 100], np.float32), 0.6))


def test_nobody_is_followed_where_only_the_finder_sees_somebody() -> None:
    stage = staged(Dreamer(), people=3)
    (person,) = stage.process(with_person(100), CAMERA)
    assert person.crop.left < 100 < person.crop.left + person.crop.side


def test_where_nobody_was_is_not_looked_at_again_until_the_next_search_of_all() -> None:
    verifier = BlockVerifier()
    stage = staged(Dreamer(), verifier=verifier)
    asked = []
    for _ in range(12):
        assert stage.process(EMPTY, CAMERA) == ()
        asked.append(verifier.asked)
    assert asked == [1] * 10 + [2] * 2


def test_someone_the_verifier_no_longer_believes_in_is_let_go() -> None:
    class Doubtful(BlockVerifier):
        def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
            believed = super().presence(output, prior)
            return believed if self.asked <= 4 else np.full_like(believed, 0.1)

    stage = staged(BlockDetector(), verifier=Doubtful())
    seen = [len(stage.process(with_person(100), CAMERA)) for _ in range(5)]
    assert seen == [1, 1, 1, 0, 0]


def test_trembling_box_leaves_the_crop_still() -> None:
    old = np.array([100, 100, 200, 300], dtype=np.float32)
    assert follow(old, old + 5) is old
    assert follow(old, old + 50) == pytest.approx(old + 30)


def test_one_keeps_every_field() -> None:
    output = BlockPerception(PerceptionNet(TINY)).observe([EMPTY[:32, :32]] * 3)
    single = one(output, 1)
    assert all(len(getattr(single, item.name)) == 1 for item in fields(single))


@pytest.mark.parametrize("people", [0, 65])
def test_max_people_is_checked(people: int) -> None:
    with pytest.raises(ValueError, match="--max-people"):
        TrackingConfig(max_people=people)
