"""Whose faces are followed, and what they make of a person, with scripted networks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from common.arrays import FloatArray, Image
from common.frames import Camera
from sender.config import Quality, TrackerConfig, TrackingConfig
from sender.face.head import HeadPoseReader
from sender.face.landmarks import FaceLandmarks
from sender.perception import keypoint_fusion, movenet, predictor
from sender.perception.crop import CropBox, View
from sender.perception.detect import Detection, Detector, ImagePose, NanoDetConfig, box_gain, smoothed_box
from sender.perception.keypoint_fusion import SecondOpinion
from sender.perception.perception_network import FusedOutput, PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.perception_stage import CloseUps, PerceptionStage, box_of, shows_head_of, with_head
from sender.perception.predictor import ZOOMS, Perception
from sender.perception.read import Verifier, VerifierConfig, VerifierNet
from sender.perception.track import TrackedPerson
from tests.support.pictures.preview_samples import MASK, observed
from tests.support.pictures.shown_heads import shown_head

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
CAMERA = Camera(512, 512, 614.0)
FRAME: Image = np.zeros((512, 512, 3), np.uint8)
NEAR, FAR = 0.35, 1.6


class ScriptedFaces:
    """A detector and a reader that show a head: its landmarks, or nothing where it is turned away."""

    def __init__(self, depth_m: float = NEAR) -> None:
        self.shown: FaceLandmarks | None = shown_head(CAMERA, (0.0, 0.0, depth_m))
        self.searches = 0

    def find(self, image: Image) -> list[CropBox]:
        self.searches += 1
        return [] if self.shown is None else [self.shown.region]

    def read(self, image: Image, region: CropBox, least_score: float = 0.0) -> FaceLandmarks | None:
        return self.shown if self.shown is not None and self.shown.score >= least_score else None


@pytest.fixture
def faces() -> ScriptedFaces:
    return ScriptedFaces()


def close_ups(faces: ScriptedFaces) -> CloseUps:
    return CloseUps(faces, faces, HeadPoseReader.load())  # type: ignore[arg-type]


def stage_with(faces: ScriptedFaces) -> PerceptionStage:
    """Nobody is seen in a black frame but by the face."""
    return staged(BlockDetector(), close_ups=close_ups(faces))


def test_head_that_fills_the_picture_is_one_person_whom_nothing_else_sees(faces: ScriptedFaces) -> None:
    stage = stage_with(faces)
    for frame in range(10):
        (person,) = stage.process(FRAME, CAMERA, frame / 30)
        assert person.identity == 0 and person.score > 0.9
        assert person.head is not None and person.head.face is faces.shown
        shown = person.crop.to_pixels(person.output.keypoints_2d[0, :5].numpy())
        np.testing.assert_allclose(shown, person.head.keypoints, atol=0.5)
    assert faces.searches == 1, "a face that is followed is not searched"


def test_small_faces_are_left_to_perception() -> None:
    assert stage_with(ScriptedFaces(FAR)).process(FRAME, CAMERA, 0.0) == ()


def test_face_belongs_to_whom_it_is_in_the_box_of(faces: ScriptedFaces) -> None:
    ups = close_ups(faces)
    inside, beside = (
        TrackedPerson(number, np.array(box, np.float32))
        for number, box in enumerate([(40, 30, 480, 512), (0, 300, 100, 512)])
    )
    assert ups.find(FRAME, [beside, inside], searches=True) == []
    assert inside.head is not None and beside.head is None
    assert len(close_ups(faces).find(FRAME, [beside], searches=True)) == 1


def test_face_on_clothes_is_nobody(faces: ScriptedFaces) -> None:
    keypoints, located = np.full((17, 2), 256, np.float32), np.arange(17) < 3
    wearer = TrackedPerson(0, np.array([40, 0, 480, 512], np.float32), image_pose=ImagePose(keypoints, located))
    keypoints[:3, 1] = 20
    ups = close_ups(faces)
    assert ups.find(FRAME, [wearer], searches=True) == [] and wearer.head is None
    keypoints[:3, 1] = 256
    ups.find(FRAME, [wearer], searches=True)
    assert wearer.head is not None


def test_box_has_head_and_shoulders_within_the_frame(faces: ScriptedFaces) -> None:
    assert faces.shown is not None
    box, points = box_of(faces.shown, FRAME), faces.shown.points[:, :2]
    assert (box[:2] <= points.min(axis=0)).all() and (box[2:] >= points.max(axis=0)).all()
    assert (box >= 0).all() and box[3] == 512 and box[2] <= 512


def test_shape_is_the_mean_one_where_hips_are_not_seen(faces: ScriptedFaces) -> None:
    assert faces.shown is not None
    person = observed(CropBox(0, 0, 512), np.ones((MASK, MASK), np.bool_), visible=np.arange(17) < 5)
    output, head = person.output, HeadPoseReader.load()(faces.shown)
    object.__setattr__(output, "shape", torch.full((1, 10), 2.0))
    assert float(with_head(output, person.crop, head).shape.abs().max()) < 0.1
    output.visible_logit[:, 11:13] = 6.0
    assert float(with_head(output, person.crop, head).shape.min()) > 1.9


@pytest.mark.parametrize(("x", "located", "shown"), [(250, True, True), (440, True, False), (440, False, True)])
def test_who_stands_behind_a_close_up_is_somebody_else(
    faces: ScriptedFaces, x: float, located: bool, shown: bool
) -> None:
    whole = np.array([0, 0, 512, 512], np.float32)
    near = TrackedPerson(0, whole)
    close_ups(faces).find(FRAME, [near], searches=True)
    pose = ImagePose(np.tile(np.array([x, 250], np.float32), (17, 1)), np.full(17, located))
    assert shows_head_of([near], whole, pose) == shown
    assert not shows_head_of(
        [near], np.array([0, 0, 20, 512], np.float32), replace(pose, located=np.zeros(17, np.bool_))
    )


STAGE_CAMERA = Camera(320, 240, 400.0)
EMPTY: Image = np.zeros((240, 320, 3), dtype=np.uint8)


def with_person(x: int) -> Image:
    """A frame with a person at `x`: a white block, 40 by 100 pixels."""
    image = EMPTY.copy()
    image[70:170, x - 20 : x + 20] = 255
    return image


class BlockDetector(Detector):
    """Proposes every block of bright pixels, and what it is told to."""

    def __init__(self, *also: Detection) -> None:
        super().__init__(NanoDetConfig(), lambda *_: pytest.fail("computed"))
        self._also = also
        self.calls = 0
        self.thorough: list[bool] = []
        self.roll = 0.0

    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        self.calls += 1
        self.thorough.append(thorough)
        self.roll = roll
        columns = np.flatnonzero((image > 0).any(axis=(0, 2)))
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
        found = (Detection(np.array([run[0], 70, run[-1] + 1, 170], dtype=np.float32), 0.9) for run in runs)
        return (*found, *self._also)


class BlockPerception(Perception):
    """Predicts a person with located keypoints on bright pixels, and none on dark ones."""

    def observe(self, crops: Sequence[Image], view: View = "both") -> PerceptionOutput:
        return self._blocks(super().observe(crops, view), crops)

    def look(self, crops: Sequence[Image], mirrored: Sequence[bool]) -> tuple[PerceptionOutput, Tensor]:
        seen, peaks = super().look(crops, mirrored)
        return self._blocks(seen, crops), peaks

    def _blocks(self, output: PerceptionOutput, crops: Sequence[Image]) -> PerceptionOutput:
        masks = torch.from_numpy(np.stack([(crop[::2, ::2] > 0).any(axis=2) for crop in crops]))
        positions = torch.full_like(output.keypoints_2d, 0.5)
        for row, mask in enumerate(masks):
            if mask.any():
                y, x = torch.nonzero(mask, as_tuple=True)
                cell = torch.stack([x, y], dim=-1).float() + 0.5
                positions[row] = cell[torch.linspace(0, len(cell) - 1, 17).long()] / mask.shape[-1]
        return replace(
            output,
            mask_logits=torch.where(masks, 5.0, -5.0),
            visible_logit=torch.where(masks.flatten(1).any(dim=1), 4.0, -6.0)[:, None].expand(-1, 17),
            keypoints_2d=positions,
            keypoints_sigma=torch.full_like(output.keypoints_sigma, 0.02),
        )


class BlockVerifier(Verifier):
    """Accepts every crop with bright pixels."""

    def __init__(self) -> None:
        super().__init__(VerifierNet(VerifierConfig()))
        self.verified = 0

    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        self.verified += len(output)
        bright = (output.mask_logits > 0).flatten(1).any(dim=1)
        return np.asarray(torch.where(bright, 0.95, 0.05).numpy(), dtype=np.float32)


def staged(
    detector: Detector,
    people: int = 1,
    verifier: Verifier | None = None,
    perception: Perception | None = None,
    **how: Any,
) -> PerceptionStage:
    # The pose that it sees is chance.
    torch.manual_seed(1)
    seeing = perception or BlockPerception(PerceptionNet(TINY))
    return PerceptionStage(detector, seeing, verifier or BlockVerifier(), TrackerConfig(max_people=people), **how)


def test_frames_of_a_rolled_camera_are_searched_upright() -> None:
    detector = BlockDetector()
    stage = staged(detector)
    corners = np.array([160, 120]) + np.array([[-20, -50], [20, -50], [20, 50], [-20, 50]]) @ [
        [0.9, 0.43],
        [-0.43, 0.9],
    ]
    image = EMPTY.copy()
    cv2.fillPoly(image, [np.round(corners).astype(np.int32)], (255, 255, 255))
    for frame in range(30):
        people = stage.process(image, STAGE_CAMERA, frame / 30)
        assert len(people) == 1
    assert np.radians(10) < detector.roll < np.radians(40)
    assert people[0].crop.roll > np.radians(10)
    stage.reset()
    stage.process(image, STAGE_CAMERA, 0.0)
    assert detector.roll == 0.0


def test_tracking_runs_detector_where_the_scene_changes() -> None:
    detector = BlockDetector()
    stage = staged(detector)
    for x in range(60, 240, 6):
        image = with_person(x)
        image[200:, 260:] = x
        (person,) = stage.process(image, STAGE_CAMERA)
        assert person.identity == 0
        assert person.crop.left < x < person.crop.left + person.crop.side
        assert abs(person.crop.centre[0] - x) < 25
        assert len(person.output) == 1
        assert person.score > 0.5
    assert detector.thorough == [True, False, False, False]


def test_track_ends_when_verifier_rejects_it() -> None:
    class RejectingVerifier(BlockVerifier):
        def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
            presence = super().presence(output, prior)
            return presence if self.verified <= 6 else np.full_like(presence, 0.1)

    stage = staged(BlockDetector(), verifier=RejectingVerifier())
    seen = [len(stage.process(with_person(100), STAGE_CAMERA)) for _ in range(5)]
    assert seen == [1, 1, 1, 0, 0]


def test_nothing_is_compiled_for_the_first_photograph_once_stills_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = PerceptionStage.load(TrackingConfig())
    stage.prepare_stills()

    def compiles(*_: object, **__: object) -> None:
        raise AssertionError("a network is compiled")

    for module in (predictor, movenet, keypoint_fusion):
        monkeypatch.setattr(module, "in_use", compiles)
    image: Image = np.zeros((300, 300, 3), np.uint8)
    for box in ([100, 20, 160, 280], [20, 20, 280, 280]):
        stage._predict(image, [np.array(box, np.float32)], thorough=True)


class Opinion:
    """In the place of MoveNet: its scores are 0.9, but those of a thorough look."""

    def __init__(self, thorough_score: float) -> None:
        self.thorough_score = thorough_score

    def fused(self, perceive: Callable[[], PerceptionOutput], *_: object, thorough: bool, **__: object) -> FusedOutput:
        output = perceive()
        own = output.keypoints_2d, output.keypoints_sigma, output.visible_logit
        score = self.thorough_score if thorough else 0.9
        return FusedOutput.of(output, own, torch.full_like(output.visible_logit, score), output.keypoints_2d)

    def propagated(self, seen: FusedOutput, *_: object, **__: object) -> FusedOutput:
        return replace(seen, keypoints_2d=seen.keypoints_2d + 0.01)


class OpinionVerifier(BlockVerifier):
    """Takes the mean score for presence, where there is one."""

    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        if not isinstance(output, FusedOutput):
            return super().presence(output, prior)
        self.prior = np.asarray(prior)
        return output.second_score.mean(dim=1).numpy()


@pytest.mark.parametrize(("still", "thorough_score", "people"), [(True, 0.9, 1), (True, 0.4, 0), (False, 0.4, 1)])
def test_thorough_look_at_a_photograph_decides_who_is_there(still: bool, thorough_score: float, people: int) -> None:
    torch.manual_seed(1)
    second, verifier = cast(SecondOpinion, Opinion(thorough_score)), OpinionVerifier()
    seeing = BlockPerception(PerceptionNet(TINY), second=second)
    stage = staged(BlockDetector(), 1, verifier, seeing)
    stage.reset(still=still)
    assert len(stage.process(with_person(100), STAGE_CAMERA)) == people
    assert verifier.prior == pytest.approx(0.9), "the detector says that"


def test_photograph_is_searched_again_with_everybody_seen_hidden() -> None:
    class LeftDetector(BlockDetector):
        """Sees the right half of a frame only where the left one is empty."""

        def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
            rest = image.copy()
            # The coarse masks leave the edges.
            rest[:, slice(160, 320) if np.count_nonzero(image[:, :160]) > 6000 else slice(0, 160)] = 0
            return super().find(rest)

    stage = staged(LeftDetector(), people=2)
    both = with_person(80) | with_person(240)
    assert sorted(round(person.crop.centre[0], -1) for person in stage.process(both, STAGE_CAMERA)) == [80, 240]


@pytest.mark.parametrize(
    ("step_s", "views"),
    [
        (0.04, ["both", "mirrored", "plain", "mirrored", "both"]),
        (0.2, ["both"] * 5),
        (None, ["both"] * 5),
    ],
)
def test_views_take_turns_in_a_stream_until_somebody_new_comes(step_s: float | None, views: list[View]) -> None:
    class WatchedPerception(BlockPerception):
        def observe(self, crops: Sequence[Image], view: View = "both") -> PerceptionOutput:
            asked.append(view)
            return super().observe(crops, view)

    asked: list[View] = []
    stage = staged(BlockDetector(), perception=WatchedPerception(PerceptionNet(TINY)))
    seen = []
    for number in range(5):
        if number == 4:
            stage.reset()
        time_s = None if step_s is None else step_s * number
        (person,) = stage.process(with_person(100), STAGE_CAMERA, time_s)
        # The first frame is seen thoroughly.
        assert number in (0, 4) or person.view == asked[-1]
        seen.append(person.view)
    assert seen == views


@pytest.mark.parametrize(
    ("late", "quality", "views"),
    [
        (None, None, ["both", "mirrored", "plain", "mirrored", "plain", "mirrored"]),
        (2, None, ["both", "mirrored", "mirrored kept", "plain", "plain kept", "mirrored"]),
        (None, "full", ["both", "mirrored", "plain", "mirrored", "plain", "mirrored"]),
        (None, "fast", ["both", "mirrored", "mirrored kept", "plain", "plain kept", "mirrored"]),
    ],
)
def test_every_other_frame_is_propagated_once_one_is_late_or_where_videos_are_read_fast(
    late: int | None, quality: Quality | None, views: list[str]
) -> None:
    perception = BlockPerception(PerceptionNet(TINY))
    perception.second = cast(SecondOpinion, Opinion(0.9))
    how: dict[str, Any] = {"live": True} if quality is None else {"quality": quality}
    stage = staged(BlockDetector(), perception=perception, **how)
    seen, places = [], []
    for number in range(6):
        (person,) = stage.process(with_person(100), STAGE_CAMERA, 0.04 * number, is_late=number == late)
        seen.append(person.view + " kept" * person.is_propagated)
        places.append(person.output.keypoints_2d)
    assert seen == views
    if late is not None:
        # It is what MoveNet says of this frame.
        assert torch.allclose(places[2], places[1] + 0.01)


class FurnitureDetector(BlockDetector):
    """Proposes the right half of the frame in every frame, too, and sees nobody beside it in the first one."""

    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        found = super().find(image)
        furniture = Detection(np.array([170, 0, 320, 240], np.float32), 0.6)
        return (furniture,) if self.calls == 1 else (*found, furniture)


class PresentVerifier(BlockVerifier):
    """Takes everything for a person."""

    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        return np.full(len(output), 0.9, np.float32)


def test_furniture_without_keypoints_makes_room_for_a_person() -> None:
    stage = staged(FurnitureDetector(), verifier=PresentVerifier())
    centres = [[person.crop.centre[0] for person in stage.process(with_person(40), STAGE_CAMERA)] for _ in range(12)]
    # In the first frame, which may be a photograph, the furniture is a person.
    assert len(centres[0]) == 1
    assert all(found == [pytest.approx(40, abs=8)] for found in centres[3:])


def test_fast_person_is_looked_for_where_they_move_to() -> None:
    stage = staged(BlockDetector())
    offsets = []
    for x in range(40, 280, 16):
        (person,) = stage.process(with_person(x), STAGE_CAMERA)
        offsets.append(abs(person.crop.centre[0] - x))
    assert max(offsets[8:]) < 8


def test_box_within_dead_band_does_not_move_and_moves_further_where_frames_are_rare() -> None:
    old = np.array([100, 100, 200, 300], dtype=np.float32)
    assert smoothed_box(old, old + 5, 0.6) is old
    assert smoothed_box(old, old + 50, 0.6) == pytest.approx(old + 30)
    assert box_gain(1 / 30) == pytest.approx(0.6) and 0.9 < box_gain(0.1) < 1


def test_max_people_and_limits_without_it() -> None:
    assert TrackingConfig(max_people=3).limits(carried=lambda: 2) == TrackerConfig(max_people=3)
    in_files, live = TrackingConfig().limits(carried=None), TrackingConfig().limits(carried=lambda: 2)
    assert in_files.max_people > 4 and live.max_people == 2
    assert 0 < in_files.least_height_share == live.least_height_share < 1
    for people in (0, 33):
        with pytest.raises(ValueError, match="--max-people"):
            TrackingConfig(max_people=people)


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
    stage = staged(BlockDetector(), perception=perception)
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
    stage = staged(detector, 2, perception=perception)
    assert len(stage.process(with_person(100), STAGE_CAMERA)) == 1
    assert detector.calls == 2 and perception.looks == [1, 1, len(ZOOMS)]


def test_who_is_proposed_twice_is_read_thoroughly_once() -> None:
    perception = CountingPerception()
    twice = BlockDetector(Detection(np.array([70, 60, 130, 180], np.float32), 0.6))
    stage = staged(twice, 3, perception=perception)
    assert len(stage.process(with_person(100), STAGE_CAMERA)) == 1
    # Two quick looks at both proposals, then a thorough one at the person.
    assert perception.looks[:3] == [2, 2, len(ZOOMS)]
