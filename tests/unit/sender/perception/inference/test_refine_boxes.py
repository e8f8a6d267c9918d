"""Boxes of the people that perception sees: mask and keypoints, each where it can be trusted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import person_box
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
CROP = CropBox(0, 0, 100)


def seen(mask: tuple[slice, slice] | None, sharp: int, seed: int = 0) -> PerceptionOutput:
    """A mask over rows and columns of 16 cells, and so many sharp keypoints in the left half: x 0.2…0.4, y 0.2…0.8."""
    torch.manual_seed(seed)
    output = Perception(PerceptionNet(TINY)).observe([np.zeros((32, 32, 3), np.uint8)])
    shown = torch.full_like(output.mask_logits, -5.0)
    if mask is not None:
        shown[:, mask[0], mask[1]] = 5.0
    places = torch.stack([torch.linspace(0.2, 0.4, 17), torch.linspace(0.2, 0.8, 17)], dim=-1)
    clear = torch.linspace(0, 16, sharp).round().long()
    sigma, visible = torch.full((1, 17), 0.3), torch.full((1, 17), -5.0)
    sigma[:, clear], visible[:, clear] = 0.02, 4.0
    return replace(output, mask_logits=shown, keypoints_2d=places[None], keypoints_sigma=sigma, visible_logit=visible)


def test_a_mask_that_runs_on_into_somebody_else_is_cut_off() -> None:
    left, top, right, bottom = person_box(seen((slice(2, 14), slice(2, 16)), sharp=17), CROP)
    assert (left, top, right, bottom) == pytest.approx((12.8, 12.5, 47.2, 87.2), abs=0.1)


def test_a_mask_within_the_keypoints_reach_is_the_box() -> None:
    box = person_box(seen((slice(3, 13), slice(3, 7)), sharp=17), CROP)
    assert box == pytest.approx(np.array([18.75, 18.75, 43.75, 81.25]), abs=0.1)


def test_few_keypoints_widen_the_mask() -> None:
    box = person_box(seen((slice(3, 6), slice(3, 6)), sharp=4), CROP)
    assert box == pytest.approx(np.array([18.75, 18.75, 40, 80]), abs=0.1)


def test_keypoints_alone_are_gone_beyond() -> None:
    box = person_box(seen(None, sharp=17), CROP)
    assert box == pytest.approx(np.array([12.8, 10.4, 47.2, 87.2]), abs=0.1)


def test_nothing_seen_keeps_most_of_the_crop() -> None:
    assert person_box(seen(None, sharp=0), CROP) == pytest.approx(np.array([10, 10, 90, 90]))
