"""A batch of training crops with their ground truth, as tensors, and its augmentation.

Shapes: B crops, S side, J = 17 keypoints, R = 22 joints, P regions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from common.body.anatomy import MIRROR_SIGNS, MIRRORED_KEYPOINTS, MIRRORED_PARTS
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.tensor_rows import TensorRows
from sender.perception.predictor import as_bytes, resized, unit

# Crop units: outside of the crop, also when it is mirrored.
_OUTSIDE = -9.0


@dataclass(frozen=True, slots=True)
class CropBatch(TensorRows):
    """Crops and their ground truth, rendered by `common.synthetic`; metres, crop units, in the crop's camera.

    Args:
        image: (B, 3, S, S) 0…1, channels last in memory; bytes before `ready`, which travel to a GPU faster.
        mask: (B, S/2, S/2) 0…1, the visible part of the person.
        depth: (B, S/2, S/2) relative to the pelvis; 0 outside of the mask; float16 before `ready`.
        part: (B, S/2, S/2) int64, 0 for the background, otherwise 1 + region; bytes before `ready`.
        keypoints_2d: (B, J, 2), may lie outside of 0…1.
        visible: (B, J) 0 or 1.
        joints_3d: (B, J, 3) camera space.
        translation: (B, 3) of the pelvis in camera space.
        rotations: (B, R, 3, 3) local.
        curl: (B, 4).
        shape: (B, 10).
        extent: (B,) metres that the crop spans at the distance of the pelvis.
        person: (B,) bool, False for negative crops, whose pose, shape and camera are undefined.
    """

    image: Tensor
    mask: Tensor
    depth: Tensor
    part: Tensor
    keypoints_2d: Tensor
    visible: Tensor
    joints_3d: Tensor
    translation: Tensor
    rotations: Tensor
    curl: Tensor
    shape: Tensor
    extent: Tensor
    person: Tensor

    @property
    def relative_joints(self) -> Tensor:
        """(B, J, 3) joints relative to the pelvis."""
        return self.joints_3d - self.translation[:, None]

    @property
    def labelled(self) -> Tensor:
        """(B, J) 1 where a keypoint has a place: everywhere, in negative crops outside."""
        return torch.ones_like(self.visible)

    # How much `visible` is worth.
    judged = labelled

    @property
    def camera(self) -> Tensor:
        """(B, 3): u, v of the pelvis in the crop, log of the extent (pinhole camera: z / focal = extent)."""
        centre = self.translation[:, :2] / self.extent[:, None] + 0.5
        return torch.cat([centre, self.extent.log()[:, None]], dim=1)

    def resized(self, side: int) -> Self:
        """The crops, not `ready`, resampled to `side` pixels with their maps; depth and parts are not interpolated."""
        cells = (side // 2, side // 2)
        if self.image.shape[-1] == side:
            return self
        return replace(
            self,
            image=resized(self.image, side).contiguous(memory_format=torch.channels_last),
            mask=resized(self.mask[:, None], cells[0])[:, 0],
            depth=functional.interpolate(self.depth[:, None], cells)[:, 0],
            part=functional.interpolate(self.part[:, None].to(torch.uint8), cells)[:, 0],
        )

    def ready(self) -> Self:
        """The crops as the losses take them."""
        return replace(self, image=unit(self.image), depth=self.depth.float(), part=self.part.long())

    def parameters(self) -> BodyParameters:
        """The bodies with the pelvis at the origin."""
        return BodyParameters(self.rotations, self.curl, self.shape, torch.zeros_like(self.translation))


def true_parameters(arrays: Mapping[str, npt.NDArray[Any]]) -> BodyParameters:
    """The true bodies of a `CropDataset` batch, in the crop's camera."""
    names = "rotation_vectors", "curl", "shape", "translation"
    vectors, *rest = (torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)) for name in names)
    return BodyParameters(axis_angle_to_matrix(vectors), *rest)


def crop_batch(arrays: Mapping[str, npt.NDArray[Any]]) -> CropBatch:
    """Tensors from the arrays of a `CropDataset` batch, not `ready`."""

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.float32))

    mask, body = tensor("mask") / 255.0, true_parameters(arrays)
    return CropBatch(
        image=as_bytes(np.asarray(arrays["image"], np.uint8)),
        mask=torch.nn.functional.avg_pool2d(mask[:, None], 2)[:, 0],
        depth=torch.from_numpy(np.asarray(arrays["depth"], np.float16)),
        part=torch.from_numpy(np.asarray(arrays["part"], np.uint8)),
        keypoints_2d=tensor("keypoints_2d"),
        visible=tensor("visible"),
        joints_3d=tensor("joints_3d"),
        translation=body.translation,
        rotations=body.rotations,
        curl=body.curl,
        shape=body.shape,
        extent=tensor("extent"),
        person=torch.ones(len(mask), dtype=torch.bool),
    )


def with_negatives(batch: CropBatch, negative_B: Tensor, image_B3SS: Tensor) -> CropBatch:
    """The batch with some of its crops replaced by negative ones, which show no person.

    Args:
        negative_B: bool, which of them to replace.
        image_B3SS: images of the negative crops, as those of the batch; the other rows are not read.
    """
    map_B11 = negative_B[:, None, None]
    return replace(
        _without(batch, map_B11),
        image=torch.where(map_B11[:, None], image_B3SS, batch.image),
        keypoints_2d=batch.keypoints_2d.masked_fill(map_B11, _OUTSIDE),
        visible=batch.visible.masked_fill(negative_B[:, None], 0.0),
        person=batch.person & ~negative_B,
    )


def _without(batch: CropBatch, hidden: Tensor) -> CropBatch:
    """The batch with no person in some cells of its maps (B, S/2, S/2)."""
    maps = {name: getattr(batch, name).masked_fill(hidden, 0) for name in ("mask", "depth", "part")}
    return replace(batch, **maps)


def mirror(batch: CropBatch) -> CropBatch:
    """Every crop mirrored left to right, with its ground truth."""
    flip, parts = batch.joints_3d.new_tensor(MIRROR_SIGNS), batch.part.new_tensor(MIRRORED_PARTS)
    body = BodyParameters(batch.rotations, batch.curl, batch.shape, batch.translation).mirrored()
    keypoints = batch.keypoints_2d[:, MIRRORED_KEYPOINTS].clone()
    keypoints[..., 0] = 1.0 - keypoints[..., 0]
    return replace(
        batch,
        image=batch.image.flip(-1),
        mask=batch.mask.flip(-1),
        depth=batch.depth.flip(-1),
        part=parts[batch.part.flip(-1)],
        keypoints_2d=keypoints,
        visible=batch.visible[:, MIRRORED_KEYPOINTS],
        joints_3d=batch.joints_3d[:, MIRRORED_KEYPOINTS] * flip,
        translation=body.translation,
        rotations=body.rotations,
        curl=body.curl,
    )


def jitter_colours(image_B3SS: Tensor) -> Tensor:
    """Random gain, contrast and white balance; the crops are rendered with noise, blur and compression."""
    batch, device = len(image_B3SS), image_B3SS.device

    def spread(size: tuple[int, ...], amount: float) -> Tensor:
        return 1.0 + amount * (2.0 * torch.rand(batch, *size, device=device) - 1.0)

    gain = spread((1, 1, 1), 0.25) * spread((3, 1, 1), 0.12)
    mean = image_B3SS.mean(dim=(1, 2, 3), keepdim=True)
    return ((image_B3SS - mean) * spread((1, 1, 1), 0.25) + mean).mul_(gain).clamp_(0.0, 1.0)


def occlude_rectangles(batch: CropBatch, share: float = 0.3) -> CropBatch:
    """Covers a random rectangle with one colour in `share` of the crops, and removes it from mask, depth and parts."""
    count, side = len(batch), batch.mask.shape[-1]
    uniform = partial(torch.rand, device=batch.image.device)
    occluded = uniform(count, 1) < share
    size = 0.12 + 0.33 * uniform(count, 2)
    start = uniform(count, 2) * (1.0 - size)
    cells = (torch.arange(side, device=batch.image.device) + 0.5) / side
    inside = (cells >= start[..., None]) & (cells < (start + size)[..., None]) & occluded[..., None]
    hidden = inside[:, 1, :, None] & inside[:, 0, None, :]
    colour = uniform(count, 3, 1, 1)
    full = hidden.repeat_interleave(2, -1).repeat_interleave(2, -2)[:, None]
    points = (batch.keypoints_2d >= start[:, None]) & (batch.keypoints_2d < (start + size)[:, None])
    return replace(
        _without(batch, hidden),
        image=torch.where(full, colour, batch.image),
        visible=batch.visible * ~(points.all(dim=-1) & occluded),
    )


def select(condition_B: Tensor, crops: CropBatch, otherwise: CropBatch) -> CropBatch:
    """Each crop from `crops` where the condition is true, else from `otherwise`."""

    def where(name: str) -> Tensor:
        first, second = getattr(crops, name), getattr(otherwise, name)
        return torch.where(condition_B.view(-1, *[1] * (first.ndim - 1)), first, second)

    return CropBatch(**{item.name: where(item.name) for item in fields(CropBatch)})


def augment(batch: CropBatch) -> CropBatch:
    """Mirrors half of `ready` crops, jitters the colours of all and occludes some, on the device that they are on.

    Mirroring whole batches instead of crops makes consecutive gradients of the 3D heads contradict each other.
    """
    mirrored = torch.rand(len(batch), device=batch.image.device) < 0.5
    batch = select(mirrored, mirror(batch), batch)
    return occlude_rectangles(replace(batch, image=jitter_colours(batch.image)))
