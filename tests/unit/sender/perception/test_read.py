from dataclasses import replace

import numpy as np
import pytest
import torch

from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import person_box, uncut_box

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
CROP = CropBox(0, 0, 100)


def output_of(mask: tuple[slice, slice] | None, located: int) -> PerceptionOutput:
    """A mask on rows and columns of a 16×16 grid, and located keypoints in x 0.2…0.4, y 0.2…0.8."""
    torch.manual_seed(0)
    output = Perception(PerceptionNet(TINY)).observe([np.zeros((32, 32, 3), np.uint8)])
    logits = torch.full_like(output.mask_logits, -5.0)
    if mask is not None:
        logits[:, mask[0], mask[1]] = 5.0
    positions = torch.stack([torch.linspace(0.2, 0.4, 17), torch.linspace(0.2, 0.8, 17)], dim=-1)
    chosen = torch.linspace(0, 16, located).round().long()
    sigma, visible = torch.full((1, 17), 0.3), torch.full((1, 17), -5.0)
    sigma[:, chosen], visible[:, chosen] = 0.02, 4.0
    return replace(
        output, mask_logits=logits, keypoints_2d=positions[None], keypoints_sigma=sigma, visible_logit=visible
    )


@pytest.mark.parametrize(
    ("mask", "located", "box"),
    [
        ((slice(2, 14), slice(2, 16)), 17, (12.8, 12.5, 47.2, 87.2)),
        ((slice(3, 13), slice(3, 7)), 17, (18.75, 18.75, 43.75, 81.25)),
        ((slice(3, 6), slice(3, 6)), 4, (18.75, 18.75, 40, 80)),
        (None, 17, (12.8, 10.4, 47.2, 87.2)),
        (None, 0, (10, 10, 90, 90)),
    ],
    ids=["mask beyond the margin", "mask within", "few keypoints", "no mask", "nothing"],
)
def test_box_of_mask_and_keypoints(
    mask: tuple[slice, slice] | None, located: int, box: tuple[float, float, float, float]
) -> None:
    assert person_box(output_of(mask, located), CROP) == pytest.approx(np.array(box), abs=0.1)


@pytest.mark.parametrize(
    ("rows", "y", "crop", "sides"),
    [
        (slice(0, 13), 0.02, CropBox(50, 50, 100), (0, -25, 0, 0)),
        (slice(0, 13), 0.2, CropBox(50, 50, 100), None),
        (slice(3, 13), 0.02, CropBox(50, 50, 100), None),
        (slice(0, 13), 0.02, CropBox(50, 0, 100), None),
        (slice(4, 16), 0.99, CropBox(50, 50, 100), (0, 0, 0, 25)),
        (slice(4, 16), 0.99, CropBox(50, 100, 100), None),
    ],
    ids=["above", "mask alone", "keypoint alone", "frame's top", "below", "frame's bottom"],
)
def test_box_of_a_person_who_is_cut_off_has_room_there(
    rows: slice, y: float, crop: CropBox, sides: tuple[int, ...] | None
) -> None:
    output = output_of((rows, slice(6, 10)), 0)
    output.keypoints_2d[0, 0, 1] = y
    expected = None if sides is None else pytest.approx(person_box(output, crop) + sides, abs=0.1)
    assert uncut_box(output, crop, 200, 200) == expected
