"""What a crop may also have looked like: mirrored, in another light, partly hidden.  The truth changes with it."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from common.body.anatomy import MIRROR_SIGNS, MIRRORED_KEYPOINTS, MIRRORED_PARTS
from common.body.model import BodyParameters
from sender.train.crops import CropBatch


def mirror(batch: CropBatch) -> CropBatch:
    """Every crop mirrored left to right, with exact labels."""
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
    """Random gain, contrast and white balance; the rendered crops bring their own noise, blur and compression."""
    batch = len(image_B3SS)

    def spread(size: tuple[int, ...], amount: float) -> Tensor:
        return 1.0 + amount * (2.0 * torch.rand(batch, *size, generator=generator) - 1.0)

    gain = spread((1, 1, 1), 0.25) * spread((3, 1, 1), 0.12)
    mean = image_B3SS.mean(dim=(1, 2, 3), keepdim=True)
    return ((image_B3SS - mean) * spread((1, 1, 1), 0.25) + mean).mul_(gain).clamp_(0.0, 1.0)


def hide_rectangles(batch: CropBatch, generator: torch.Generator, share: float = 0.3) -> CropBatch:
    """A random rectangle of flat colour over `share` of the crops; what it hides is no longer seen in mask or parts."""
    count, side = len(batch), batch.mask.shape[-1]
    hit = torch.rand(count, 1, generator=generator) < share
    size = 0.12 + 0.33 * torch.rand(count, 2, generator=generator)
    start = torch.rand(count, 2, generator=generator) * (1.0 - size)
    cells = (torch.arange(side) + 0.5) / side
    inside = (cells >= start[..., None]) & (cells < (start + size)[..., None]) & hit[..., None]
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
        visible=batch.visible * ~(points.all(dim=-1) & hit),
    )


def choose(which_B: Tensor, yes: CropBatch, no: CropBatch) -> CropBatch:
    """Each crop from one batch or the other."""

    def pick(name: str) -> Tensor:
        first, second = getattr(yes, name), getattr(no, name)
        return torch.where(which_B.view(-1, *[1] * (first.ndim - 1)), first, second)

    return CropBatch(**{item.name: pick(item.name) for item in fields(CropBatch)})


def augment(batch: CropBatch, generator: torch.Generator) -> CropBatch:
    """Half of the crops mirrored, all with colours jittered, some partly hidden.

    Mirroring whole batches instead makes the mean left and right of each batch pull the 3D heads to and fro.
    """
    batch = choose(torch.rand(len(batch), generator=generator) < 0.5, mirror(batch), batch)
    batch = replace(batch, image=jitter_colours(batch.image, generator))
    return hide_rectangles(batch, generator)
