"""Importance from perception: where people, faces and hands are in the window."""

from typing import Any

import numpy as np
import torch

from common.body.anatomy import REGION_INDEX
from sender.image_channel import importance_of
from sender.perception.crop import CropBox
from sender.perception.perception_network import PARTS, PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson

TEXELS = 64


def person(crop: CropBox) -> ObservedPerson:
    """Somebody in the left half of a crop, whose face is the upper quarter of it."""
    mask = torch.full((1, TEXELS, TEXELS), -5.0)
    mask[:, :, : TEXELS // 2] = 5.0
    parts = torch.zeros(1, PARTS, TEXELS, TEXELS)
    parts[:, 1 + REGION_INDEX["chest"]] = 1.0
    parts[:, 1 + REGION_INDEX["face"], : TEXELS // 4] = 2.0
    unused: dict[str, Any] = {field: torch.zeros(1) for field in PerceptionOutput.__dataclass_fields__}
    return ObservedPerson(
        TrackedPerson(0), 1.0, crop, PerceptionOutput(**(unused | {"mask_logits": mask, "part_logits": parts}))
    )


def test_levels_are_where_the_person_is_in_the_window() -> None:
    window = CropBox(100, 200, 128)
    levels = importance_of(window, 256, [person(CropBox(100, 200, 128))])
    assert levels is not None and levels.shape == (16, 16)
    assert (levels[:4, :8] == 2).all() and (levels[4:, :8] == 1).all() and not levels[:, 9:].any()


def test_position_that_a_person_covers_a_little_is_background_but_a_face_counts() -> None:
    # The border of the person is at 3.2 of 16 columns of the window: they cover a fifth of the fourth one.
    window = CropBox(0, 0, 320)
    levels = importance_of(window, 256, [person(CropBox(0, 0, 128))])
    assert levels is not None
    assert (levels[0] == [2, 2, 2, 2] + 12 * [0]).all() and (levels[3] == [1, 1, 1] + 13 * [0]).all()


def test_higher_level_of_several_people_counts_and_nobody_is_none() -> None:
    window = CropBox(0, 0, 128)
    both = importance_of(window, 128, [person(CropBox(0, 0, 128)), person(CropBox(0, 64, 128))])
    assert both is not None and both[4, 0] == 2 and both[7, 0] == 1 and np.unique(both).tolist() == [0, 1, 2]
    assert importance_of(window, 128, []) is None
    assert importance_of(window, 128, [person(CropBox(500, 0, 128))]) is None


def test_crop_that_is_rolled_turns_the_levels() -> None:
    # A quarter turn clockwise: the crop's left half is the upper one of the window, its top the right side.
    rolled = CropBox(0, 0, 128, roll=np.radians(90))
    levels = importance_of(CropBox(0, 0, 128), 128, [person(rolled)])
    assert levels is not None
    assert (levels[:4, 6:] == 2).all() and (levels[:4, :5] == 1).all() and not levels[5:].any()
