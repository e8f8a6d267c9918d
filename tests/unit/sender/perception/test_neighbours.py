import numpy as np
import pytest
import torch

from common.arrays import Float64Array
from sender.perception.crop import CropBox
from sender.perception.second_opinion import hide_neighbours, without

# Of two people side by side, who share the pixels 80 to 120 across.
BOXES = [np.array([20, 40, 120, 180], np.float32), np.array([80, 40, 180, 180], np.float32)]


def across(crop: CropBox, size: int) -> Float64Array:
    """(S, S) how far the pixels of a crop are across the picture, in axes that are rolled about its middle."""
    places = (np.arange(size) + 0.5) / size - 0.5
    grid = np.stack(np.meshgrid(places, places), -1) * crop.side @ crop.axes.T + crop.centre
    return np.asarray((grid - [100, 110]) @ crop.axes[:, 0] + 100)


def mask(crop: CropBox, left_px: float, right_px: float) -> torch.Tensor:
    inside = (across(crop, 48) > left_px) & (across(crop, 48) < right_px)
    return torch.from_numpy(np.where(inside, 5.0, -5.0).astype(np.float32))


@pytest.mark.parametrize("roll", [0.0, 0.2])
def test_what_is_another_persons_is_black(roll: float) -> None:
    crops, seen = ([CropBox.around(box, margin, roll) for box in BOXES] for margin in (1.25, 1.1))
    masks = torch.stack([mask(crops[0], 20, 100), mask(crops[1], 100, 180)])
    cuts = [np.full((96, 96, 3), 9, np.uint8) for _ in BOXES]
    hide_neighbours(cuts, seen, BOXES, crops, masks)
    # In the middle rows, which both crops have.
    left, right = (across(crop, 96)[36:60] for crop in seen)
    cuts = [cut[36:60] for cut in cuts]
    assert (cuts[0][left < 95] == 9).all() and (cuts[1][right > 105] == 9).all()
    assert (cuts[0][(left > 105) & (left < 125)] == 0).all() and (cuts[1][(right < 95) & (right > 75)] == 0).all()


@pytest.mark.parametrize("roll", [0.0, 0.3])
def test_frame_without_people_is_black_where_their_masks_are(roll: float) -> None:
    crop = CropBox.around(BOXES[0], roll=roll)
    image = np.full((200, 200, 3), 9, np.uint8)
    rest = without(image, [(mask(crop, 60, 90), crop)])
    # In the frame, along an axis of the crop through its middle.
    steps = np.arange(-40, 40) * crop.axes[:, :1] + np.array(crop.centre)[:, None]
    x, y = np.round(steps).astype(int)
    at = (np.stack([x, y], -1) - [100, 110]) @ crop.axes[:, 0] + 100
    assert (rest[y, x][(at > 63) & (at < 87)] == 0).all()
    assert (rest[y, x][(at < 57) | (at > 93)] == 9).all()
    assert (image == 9).all()
