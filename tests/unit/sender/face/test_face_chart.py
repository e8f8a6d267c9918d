"""Pictures of faces laid into their chart."""

import numpy as np

from common.arrays import FloatArray, Image
from common.texture.face_picture import FaceChart
from sender.face.face_chart import ChartMemory, Unwrapping

SIDE = 128


def frontal(px: float) -> FloatArray:
    """Landmarks of a face that lies in a picture as in the chart."""
    return (FaceChart.load().landmarks * px).astype(np.float32)


def slope(px: int) -> Image:
    down, across = np.mgrid[:px, :px]
    return np.stack([across % 256, down % 256, 0 * down + 90], axis=-1).astype(np.uint8)


def test_a_face_that_lies_as_the_chart_does_is_taken_as_it_is() -> None:
    image = slope(SIDE)
    chart = Unwrapping(SIDE)(image, frontal(SIDE))
    inside = chart[..., 2] == 90
    assert 0.4 < inside.mean() < 0.9
    error = np.abs(chart[inside].astype(int) - image[inside])
    assert np.quantile(error, 0.99) <= 1


def test_a_chart_does_not_move_with_the_head() -> None:
    points, image = frontal(SIDE), np.zeros((400, 400, 3), np.uint8)
    turn = np.array([[0.9, -0.4], [0.4, 0.9]], np.float32) * 1.5
    at = np.linalg.inv(turn)
    down, across = np.mgrid[:400, :400]
    back = (np.stack([across - 150, down - 60], axis=-1) + 0.5) @ at.T
    image[..., 0], image[..., 1] = np.clip(back[..., 0], 0, 255), np.clip(back[..., 1], 0, 255)
    chart = Unwrapping(SIDE)(image, points @ turn.T + [150, 60])
    inside = np.s_[40:90, 40:90]
    wanted = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1)[inside]
    assert np.abs(chart[inside][..., :2].astype(int) - wanted).max() <= 2


def test_what_is_turned_away_keeps_its_last_colour() -> None:
    points = frontal(SIDE)
    before = np.full((SIDE, SIDE, 3), (10, 200, 10), np.uint8)
    folded = points.copy()
    beyond = folded[:, 0] > 0.6 * SIDE
    folded[beyond, 0] = 0.6 * SIDE + 0.02 * (folded[beyond, 0] - 0.6 * SIDE)
    chart = Unwrapping(SIDE)(slope(SIDE), folded, before)
    assert (chart[64, 100] == before[64, 100]).all()
    assert (chart[64, 50] != before[64, 50]).any()


def test_closed_lids_are_seen_and_not_turned_away() -> None:
    points = frontal(SIDE)
    before = np.full((SIDE, SIDE, 3), (10, 200, 10), np.uint8)
    for upper, lower in ((159, 145), (158, 153), (160, 144), (157, 154), (161, 163)):
        points[upper] = points[lower]
    chart = Unwrapping(SIDE)(slope(SIDE), points, before)
    assert not (chart == before).all(axis=-1).any()


def test_the_chart_has_the_size_of_the_face_and_keeps_it() -> None:
    memory, image = ChartMemory(), slope(300)
    charts = [
        memory.laid(image, frontal(px), px, now_s) for now_s, px in enumerate((60, 100, 120, 80, 260, 285, 240, 60))
    ]
    assert [chart is not None and chart.shape[0] for chart in charts] == [64, 64, 128, 128, 128, 256, 256, 64]
    assert memory.laid(image, frontal(60), 60, 7.03) is None, "no more than fifteen a second are sent"
    assert memory.laid(image, frontal(60), 60, 7.07) is not None
