import cv2
import numpy as np
import pytest
import torch

from sender.perception.inference.detector import (
    BOTH,
    LARGER,
    LETTERBOX_GREY,
    Detector,
    DetectorConfig,
    DetectorNet,
    letterboxed,
    peaks,
)

TINY = DetectorConfig(size=64, width=8)


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


def test_peaks_are_local_maxima_best_first_without_overlaps() -> None:
    heat, boxes = torch.zeros(8, 8), torch.zeros(4, 8, 8)
    assert [found.shape for found in peaks(heat, boxes, threshold=0.3)] == [(0, 4), (0,)]
    heat[2, 2], heat[2, 3], heat[6, 6], heat[0, 7], heat[4, 2] = 0.7, 0.6, 0.9, 0.1, 0.5
    boxes[:, 2, 2] = boxes[:, 4, 2] = torch.tensor([0.1, 0.1, 0.4, 0.5])
    boxes[:, 6, 6] = torch.tensor([0.6, 0.6, 0.9, 1.0])
    found, scores = peaks(heat, boxes, threshold=0.3)
    assert scores.tolist() == pytest.approx([0.9, 0.7])
    assert torch.equal(found[1], boxes[:, 2, 2])


def test_frame_is_read_at_the_scales_asked_for() -> None:
    torch.manual_seed(1)
    detector = Detector(DetectorNet(DetectorConfig(size=320, width=8)), threshold=0.0)
    sides: list[int] = []
    detector.net.eighth.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    detector.find(image)
    detector.find(image, LARGER)
    found = detector.find(image, BOTH)
    assert sides[:2] == [320, 384]
    assert sorted(sides[2:]) == [320, 384]  # side by side: in either order
    assert [detection.score for detection in found] == sorted((detection.score for detection in found), reverse=True)


def test_find_clips_boxes_to_frame() -> None:
    detector = Detector(DetectorNet(TINY), threshold=0.0)
    found = detector.find(np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))
    boxes = np.stack([detection.box for detection in found])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [161, 91]).all() and (boxes[:, 2:] > boxes[:, :2]).all()
