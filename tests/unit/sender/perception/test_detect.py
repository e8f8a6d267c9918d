from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import Image
from common.errors import WeightsError
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from common.weights.loader import load_recorded, save_weights
from sender.capture.open import DEMO_CLIP
from sender.capture.video import VideoFileSource
from sender.perception.detect import (
    KIND,
    LETTERBOX_GREY,
    WEIGHTS_NAME,
    Detector,
    NanoDetConfig,
    NanoDetNet,
    letterboxed,
)

TINY = NanoDetConfig(size=64, width=8, pyramid=8)
NOISE: Image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)


def tiny_detector(config: NanoDetConfig = TINY) -> tuple[Detector, list[tuple[int, int]]]:
    """One that proposes every cell of an untrained network, and the shapes of the frames that it reads."""
    torch.manual_seed(1)
    net, shapes = NanoDetNet(config), list[tuple[int, int]]()

    def note(_: NanoDetNet, inputs: Sequence[Tensor]) -> None:
        height, width = inputs[0].shape[1:3]
        shapes.append((height, width))

    net.register_forward_pre_hook(note)
    network = NetworkInUse(net.eval(), "float32", CPU)
    return Detector(config, lambda *_: network, threshold=0.0), shapes


@pytest.mark.parametrize("roll", [0.45, -0.3])
@pytest.mark.parametrize("shape", [(480, 640), (640, 360)])
def test_frame_of_a_rolled_camera_is_turned_upright(shape: tuple[int, int], roll: float) -> None:
    frame = np.full((*shape, 3), LETTERBOX_GREY, dtype=np.uint8)
    middle = np.array([0.6 * shape[1], 0.4 * shape[0]])
    axes = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    corners = middle + np.array([[-30, -80], [30, -80], [30, 80], [-30, 80]]) @ axes.T
    cv2.fillPoly(frame, [np.round(corners).astype(np.int32)], (255, 255, 255))
    square, letterbox = letterboxed(frame, (320, 320), roll)
    rows, columns = (np.flatnonzero((square > 200).any(axis=axes)) for axes in ((1, 2), (0, 2)))
    box = torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]) / 320
    x, y = middle
    expected = torch.tensor([[x - 30, y - 80, x + 30, y + 80]], dtype=torch.float32)
    assert torch.allclose(letterbox.to_pixels(box), expected, atol=1.5 / letterbox.scale)


@pytest.mark.parametrize(
    ("frame", "roll", "read"),
    [
        ((90, 160), 0.0, (256, 416)),
        ((1080, 2400), 0.0, (256, 416)),
        ((480, 640), 0.0, (320, 416)),
        ((640, 480), 0.0, (416, 320)),
        ((500, 480), 0.0, (416, 416)),
        ((90, 160), 0.3, (416, 416)),
    ],
)
def test_frame_is_read_in_a_shape_like_its_own(frame: tuple[int, int], roll: float, read: tuple[int, int]) -> None:
    detector, shapes = tiny_detector(NanoDetConfig(width=8, pyramid=8))
    detector.find(np.zeros((*frame, 3), np.uint8), roll)
    assert shapes == [read]


def test_thorough_look_reads_a_larger_frame_too() -> None:
    detector, shapes = tiny_detector()
    found = detector.find(NOISE, thorough=True)
    assert sorted(shapes) == [(32, 64), (64, 96)]  # side by side: in either order
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_find_clips_boxes_to_frame() -> None:
    detector, _ = tiny_detector()
    boxes = np.stack([detection.box for detection in detector.find(NOISE)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [161, 91]).all() and (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.fixture(scope="module")
def frame() -> Image:
    """Of the demo clip, which shows one person."""
    with VideoFileSource(DEMO_CLIP) as source:
        return next(iter(source)).image


def eager_detector() -> Detector:
    net = load_recorded(WEIGHTS_NAME, KIND, NanoDetConfig, NanoDetNet)
    return Detector(net.config, lambda *_: NetworkInUse(net.eval(), "float32", CPU))


def test_shipped_network_proposes_the_person_as_compiled_and_by_pytorch(frame: Image) -> None:
    compiled, eager = (detector.find(frame)[0] for detector in (Detector.load(), eager_detector()))
    assert compiled.score > 0.5 and eager.score > 0.5
    np.testing.assert_allclose(compiled.box, eager.box, atol=float(0.03 * np.ptp(eager.box[1::2])))


def test_frame_that_is_turned_has_the_same_person(frame: Image) -> None:
    (x0, y0, x1, y1), height, width = Detector.load().find(frame)[0].box, *frame.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -20, 1.0)
    turned = np.asarray(cv2.warpAffine(frame, turn, (width, height), borderValue=(LETTERBOX_GREY,) * 3), np.uint8)
    found = Detector.load().find(turned, np.radians(20))[0]
    expected = turn @ [(x0 + x1) / 2, (y0 + y1) / 2, 1]
    np.testing.assert_allclose((found.box[:2] + found.box[2:]) / 2, expected, atol=0.05 * (y1 - y0))


def test_weights_of_another_version_are_refused(tmp_path: Path) -> None:
    save_weights(WEIGHTS_NAME, NanoDetNet(TINY).state_dict(), {"kind": "detector-centre-1"}, {}, {}, directory=tmp_path)
    with pytest.raises(WeightsError, match="another version"):
        Detector.load(tmp_path)
