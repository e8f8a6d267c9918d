"""Augmentation of crops: mirroring, colour jitter, occluding rectangles.  The ground truth changes with the image."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from common.body.anatomy import MIRROR_SIGNS, MIRRORED_KEYPOINTS, MIRRORED_PARTS
from common.body.model import BodyParameters
from sender.train.crops import CropBatch


def mirror(batch: CropBatch) -> CropBatch:
    """Every crop mirrored left to right, with its ground truth."""
    flip = torch.tensor(MIRROR_SIGNS)
    body = BodyParameters(batch.rotations, batch.curl, batch.shape, batch.translation).mirrored()
    keypoints = batch.keypoints_2d[:, MIRRORED_KEYPOINTS].clone()
    keypoints[..., 0] = 1.0 - keypoints[..., 0]
    return replace(
        batch,
        image=batch.image.flip(-1),
        mask=batch.mask.flip(-1),
        depth=batch.depth.flip(-1),
        part=torch.tensor(MIRRORED_PARTS)[batch.part.flip(-1)],
        keypoints_2d=keypoints,
        visible=batch.visible[:, MIRRORED_KEYPOINTS],
        joints_3d=batch.joints_3d[:, MIRRORED_KEYPOINTS] * flip,
        translation=body.translation,
        rotations=body.rotations,
        curl=body.curl,
    )


def jitter_colours(image_B3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, contrast and white balance; the crops are rendered with noise, blur and compression."""
    batch = len(image_B3SS)

    def spread(size: tuple[int, ...], amount: float) -> Tensor:
        return 1.0 + amount * (2.0 * torch.rand(batch, *size, generator=generator) - 1.0)

    gain = spread((1, 1, 1), 0.25) * spread((3, 1, 1), 0.12)
    mean = image_B3SS.mean(dim=(1, 2, 3), keepdim=True)
    return ((image_B3SS - mean) * spread((1, 1, 1), 0.25) + mean).mul_(gain).clamp_(0.0, 1.0)


def occlude_rectangles(batch: CropBatch, generator: torch.Generator, share: float = 0.3) -> CropBatch:
    """Covers a random rectangle with one colour in `share` of the crops, and removes it from mask, depth and parts."""
    count, side = len(batch), batch.mask.shape[-1]
    occluded = torch.rand(count, 1, generator=generator) < share
    size = 0.12 + 0.33 * torch.rand(count, 2, generator=generator)
    start = torch.rand(count, 2, generator=generator) * (1.0 - size)
    cells = (torch.arange(side) + 0.5) / side
    inside = (cells >= start[..., None]) & (cells < (start + size)[..., None]) & occluded[..., None]
    hidden = inside[:, 1, :, None] & inside[:, 0, None, :]
    colour = torch.rand(count, 3, 1, 1, generator=generator)
    full = hidden.repeat_interleave(2, -1).repeat_interleave(2, -2)[:, None]
    points = (batch.keypoints_2d >= start[:, None]) & (batch.keypoints_2d < (start + size)[:, None])
    return replace(
        batch,
        image=torch.where(full, colour, batch.image),
        mask=batch.mask.masked_fill(hidden, 0.0),
        depth=batch.depth.masked_fill(hidden, 0.0),
        part=batch.part.masked_fill(hidden, 0),
        visible=batch.visible * ~(points.all(dim=-1) & occluded),
    )


def select(condition_B: Tensor, crops: CropBatch, otherwise: CropBatch) -> CropBatch:
    """Each crop from `crops` where the condition is true, else from `otherwise`."""

    def where(name: str) -> Tensor:
        first, second = getattr(crops, name), getattr(otherwise, name)
        return torch.where(condition_B.view(-1, *[1] * (first.ndim - 1)), first, second)

    return CropBatch(**{item.name: where(item.name) for item in fields(CropBatch)})


def augment(batch: CropBatch, generator: torch.Generator) -> CropBatch:
    """Mirrors half of the crops, jitters the colours of all and occludes some.

    Mirroring whole batches instead of crops makes consecutive gradients of the 3D heads contradict each other.
    """
    batch = select(torch.rand(len(batch), generator=generator) < 0.5, mirror(batch), batch)
    batch = replace(batch, image=jitter_colours(batch.image, generator))
    return occlude_rectangles(batch, generator)
