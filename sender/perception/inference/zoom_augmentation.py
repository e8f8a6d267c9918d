"""Test-time augmentation for photographs: the mean of the predictions in crops of several sizes around one centre.

A larger or smaller crop shows the person to the network at another scale and with other surroundings, so the errors are
partly independent.  A photograph has no second frame to correct the first, and its sender has time.

Shapes: as in `sender.perception.network.output`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Image
from sender.perception.inference.crop import CropBox
from sender.perception.inference.flip_augmentation import mean
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput

ZOOMS: Final = ((1.0, False), (1.0, True), (0.85, False), (1.2, True))
"""Sides of the crops, over the one that the output belongs to, and whether the network sees their mirror images.

Chosen on the photographs held back from training: with both views of each side, keypoints are not more exact.
"""

_MAPS: Final = ("heat_logits", "mask_logits", "part_logits", "depth")


def predict_zoomed(perception: Perception, image: Image, crops: Sequence[CropBox]) -> PerceptionOutput:
    """Predicts the people in crops of a photograph (H, W, 3) uint8 RGB; one row per crop, in its units.

    Raises:
        ValueError: there is no crop.
    """
    boxes = [zoomed(crop, zoom) for zoom, _ in ZOOMS for crop in crops]
    mirrored = [is_mirrored for _, is_mirrored in ZOOMS for _ in crops]
    seen, peaks = perception.look([box.cut(image, perception.still_size) for box in boxes], mirrored)
    seen = replace(seen, keypoints_2d=peaks)
    parts = [slice(start, start + len(crops)) for start in range(0, len(boxes), len(crops))]
    return perception.with_peaks(mean([in_crops(seen[part], boxes[part], crops, seen[parts[0]]) for part in parts]))


def zoomed(crop: CropBox, zoom: float) -> CropBox:
    """The crop of `zoom` times the side around the same centre, in whole pixels."""
    side = max(1, round(zoom * crop.side))
    x, y = crop.centre
    return CropBox(round(x - side / 2), round(y - side / 2), side, crop.roll)


def in_crops(
    output: PerceptionOutput, seen: Sequence[CropBox], crops: Sequence[CropBox], otherwise: PerceptionOutput
) -> PerceptionOutput:
    """Predictions in some crops, in the units of others.

    Args:
        output: B rows.
        seen: the crops that it belongs to.
        crops: those whose units are wanted.
        otherwise: predictions in these, for the cells of maps that `seen` does not cover.
    """
    scale = torch.tensor([own.side / base.side for own, base in zip(seen, crops, strict=True)])
    corners = [base.to_units(own.to_pixels(np.zeros(2, np.float32))) for own, base in zip(seen, crops, strict=True)]
    corner = torch.from_numpy(np.stack(corners))
    place, log_extent = output.camera[:, :2], output.camera[:, 2:]
    maps = {name: _resampled(getattr(output, name), scale, corner, getattr(otherwise, name)) for name in _MAPS}
    area, centre, spread = output.mask_moments[:, :1], output.mask_moments[:, 1:3], output.mask_moments[:, 3:]
    squared = scale[:, None].square()
    return replace(
        output,
        **maps,
        keypoints_2d=corner[:, None] + scale[:, None, None] * output.keypoints_2d,
        keypoints_sigma=scale[:, None] * output.keypoints_sigma,
        camera=torch.cat([corner + scale[:, None] * place, log_extent - scale.log()[:, None]], dim=1),
        mask_moments=torch.cat([squared * area, corner + scale[:, None] * centre, squared * spread], dim=1),
        region_area=scale[:, None] * output.region_area,
    )


def _resampled(maps: Tensor, scale_B: Tensor, corner_B2: Tensor, otherwise: Tensor) -> Tensor:
    """Maps (B, …, H, W) of crops as others show them, whose cells outside of the crops keep their own values."""
    flat = maps.flatten(1, -3) if maps.ndim > 3 else maps[:, None]
    size = (flat.shape[-2], flat.shape[-1])
    # The cell at u of the wanted crop is at (u − corner) / scale of the crop that was seen.
    centre = (0.5 - corner_B2) / scale_B[:, None]
    theta = flat.new_zeros(len(flat), 2, 3, dtype=torch.float32)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale_B
    theta[:, :, 2] = 2 * centre - 1
    grid = functional.affine_grid(theta, [len(flat), 1, *size], align_corners=False)
    moved = functional.grid_sample(flat.float(), grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    kept = otherwise.reshape(flat.shape).float()
    return torch.where(inside, moved, kept).reshape(maps.shape).to(maps.dtype)
