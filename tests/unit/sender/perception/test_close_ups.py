"""Whose faces are followed, and what they make of a person, with scripted networks."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from common.arrays import FloatArray, Image
from common.frames import Camera
from sender.config import TrackerConfig
from sender.face.head import HeadPoseReader
from sender.face.landmarks import FaceLandmarks, FoundFace
from sender.perception.crop import CropBox
from sender.perception.detect import Detection, Detector, NanoDetConfig
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.perception_stage import CloseUps, PerceptionStage, box_of, shows_head_of, with_head
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, VerifierConfig, VerifierNet
from sender.perception.similarity import ImagePose
from sender.perception.track import TrackedPerson
from tests.support.pictures.preview_samples import MASK, observed
from tests.support.pictures.shown_heads import shown_head

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
CAMERA = Camera(512, 512, 614.0)
FRAME: Image = np.zeros((512, 512, 3), np.uint8)
NEAR, FAR = 0.35, 1.6


class ScriptedFaces:
    """A detector and a reader that show a head.

    Attributes:
        shown: its landmarks; None where it is turned away.
        searches, reads: how often they were asked.
    """

    def __init__(self, depth_m: float = NEAR) -> None:
        self.shown: FaceLandmarks | None = shown_head(CAMERA, (0.0, 0.0, depth_m))
        self.searches = self.reads = 0

    def find(self, image: Image) -> list[FoundFace]:
        self.searches += 1
        return [] if self.shown is None else [FoundFace(self.shown.region, 0.9)]

    def read(
        self, image: Image, region: CropBox, least_score: float = 0.0, last: FaceLandmarks | None = None
    ) -> FaceLandmarks | None:
        self.reads += 1
        return self.shown if self.shown is not None and self.shown.score >= least_score else None


class NoDetector(Detector):
    """Proposes nobody."""

    def __init__(self) -> None:
        super().__init__(NanoDetConfig(), lambda *_: pytest.fail("computed"))

    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        return ()


class NoVerifier(Verifier):
    """Sees nobody anywhere."""

    def __init__(self) -> None:
        super().__init__(VerifierNet(VerifierConfig()))

    def presence(
        self, output: PerceptionOutput, prior: npt.ArrayLike, first: PerceptionOutput | None = None
    ) -> FloatArray:
        return np.full(len(output), 0.05, np.float32)


@pytest.fixture
def faces() -> ScriptedFaces:
    return ScriptedFaces()


def close_ups(faces: ScriptedFaces) -> CloseUps:
    return CloseUps(faces, faces, HeadPoseReader.load())  # type: ignore[arg-type]


def stage_with(faces: ScriptedFaces) -> PerceptionStage:
    torch.manual_seed(1)
    perception = Perception(PerceptionNet(TINY))
    return PerceptionStage(NoDetector(), perception, NoVerifier(), TrackerConfig(), close_ups(faces))


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
