"""Runs the trained perception network: crops → `PerceptionOutput`, also as a mean over views and sizes.

The network is not symmetric by construction, so its errors on an image and on the mirror image are partly independent;
those on crops of several sizes around one centre are, too.  A photograph has no second frame to correct the first, and
its sender has time for both.  By the law of total variance, the variance of the predictions about their mean is added
to the mean of their variances.

Keypoints are read at the highest peak of the mean heat map instead of averaging over all of it: where a map has two
peaks, such as those of the left and the right knee, their mean is at neither.

Shapes: as in `sender.perception.perception_network`.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import ByteArray, Image
from common.body.anatomy import (
    MIRROR_SIGNS,
    MIRRORED_CURLS,
    MIRRORED_JOINTS,
    MIRRORED_KEYPOINTS,
    MIRRORED_PARTS,
    MIRRORED_REGIONS,
)
from common.body.model import rotation_6d_to_matrix
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import later
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from common.weights.threads import beside
from sender.config import Keypoints
from sender.perception.crop import CropBox, View
from sender.perception.heads import attend, peak_positions
from sender.perception.keypoint_fusion import SecondOpinion
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput

# What a mirror image exchanges: of which fields the first axis after the crops.
_EXCHANGED: Final = {
    "keypoints": (
        MIRRORED_KEYPOINTS,
        ("heat_logits", "keypoints_2d", "keypoints_sigma", "visible_logit", "joints_3d", "joints_log_variance",
         "joint_depth"),
    ),
    "joints": (MIRRORED_JOINTS, ("rotations_6d", "rotations_log_variance")),
    "curls": (MIRRORED_CURLS, ("curl", "curl_log_variance")),
    "parts": (MIRRORED_PARTS, ("part_logits",)),
    "regions": (MIRRORED_REGIONS, ("region_colours", "region_area")),
}  # fmt: skip
# Signs that it changes: of positions, of a rotation's first two columns under M R M, and of a mask's (area, x, y, xx,
# yy, xy).
_MAPS: Final = ("heat_logits", "mask_logits", "part_logits", "depth")
_SIGNS: Final = {
    "joints_3d": MIRROR_SIGNS,
    "rotations_6d": (1.0, -1.0, -1.0, -1.0, 1.0, 1.0),
    "mask_moments": (1.0, -1.0, 1.0, 1.0, 1.0, -1.0),
}


def with_peaks(average: PerceptionOutput, sharpness_J: Tensor) -> PerceptionOutput:
    """The output with its keypoints at the highest peaks of its heat maps; the sharpness is `KeypointsHead`'s."""
    return replace(average, keypoints_2d=peak_positions(attend(average.heat_logits.float(), sharpness_J)))


class Mirror(nn.Module):
    """The output for the mirror images of the crops, left and right exchanged; `summary` is kept as it is."""

    def __init__(self) -> None:
        super().__init__()
        constants = {name: order for name, (order, _) in _EXCHANGED.items()}
        for name, values in (constants | _SIGNS).items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, output: PerceptionOutput) -> PerceptionOutput:
        columns = {item.name: getattr(output, item.name) for item in fields(PerceptionOutput)}
        for order, (_, names) in _EXCHANGED.items():
            columns |= {name: columns[name].index_select(1, self.get_buffer(order)) for name in names}
        columns |= {name: columns[name] * self.get_buffer(name) for name in _SIGNS}
        columns |= {name: flipped(columns[name]) for name in _MAPS}
        for name in ("keypoints_2d", "camera"):
            columns[name] = torch.cat([1 - columns[name][..., :1], columns[name][..., 1:]], dim=-1)
        return PerceptionOutput(**columns)


mirrored: Final = Mirror()
"""On the host."""


def flipped(maps: Tensor) -> Tensor:
    """Maps from right to left; by an index, for which compiled networks take half of the time of `Tensor.flip`."""
    width = maps.shape[-1]
    return maps.index_select(-1, torch.arange(width - 1, -1, -1, device=maps.device))


def mean(outputs: Sequence[PerceptionOutput]) -> PerceptionOutput:
    """The mean of several predictions for the same crops, with variances that include the differences between them."""
    stacks = {item.name: torch.stack([getattr(output, item.name) for output in outputs]) for item in fields(outputs[0])}
    means = {name: stack.mean(dim=0) for name, stack in stacks.items()}

    def widened(name: str, between: Tensor) -> Tensor:
        log_variance: Tensor = (stacks[name].exp().mean(dim=0) + between).log()
        return log_variance

    rotations = rotation_6d_to_matrix(stacks["rotations_6d"])
    between = _variance(stacks["keypoints_2d"]).sum(dim=-1)
    return PerceptionOutput(
        **means
        | {
            "keypoints_sigma": (stacks["keypoints_sigma"].square().mean(dim=0) + between).sqrt(),
            "joints_log_variance": widened("joints_log_variance", _variance(stacks["joints_3d"]).mean(dim=-1)),
            "rotations_log_variance": widened("rotations_log_variance", _variance(rotations).mean(dim=(-2, -1))),
            "shape_log_variance": widened("shape_log_variance", _variance(stacks["shape"])),
            "curl_log_variance": widened("curl_log_variance", _variance(stacks["curl"])),
            "camera_log_variance": widened("camera_log_variance", _variance(stacks["camera"])),
        }
    )


def _variance(stack: Tensor) -> Tensor:
    """Of predictions (N, …) about their mean."""
    return stack.var(dim=0, correction=0)


WEIGHTS_NAME = "perception"
KIND = "perception-vit-1"


class PerceptionGraph(nn.Module):
    """Perception in use: crops of bytes → the fields of `PerceptionOutput`, the peaks (B, J, 2) of the heat maps, and
    the sharpness (B, J) by which they were found, which is always the same.

    What mirror images show is mirrored back.
    """

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self.net, self.mirror = net, Mirror()

    def forward(self, crops_BSS3: Tensor, mirrored_B: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            mirrored_B: whether a crop is a mirror image.
        """
        seen: PerceptionOutput = self.net(unit(crops_BSS3.permute(0, 3, 1, 2)))
        columns = zip(self.mirror(seen).columns(), seen.columns(), strict=True)
        turned = PerceptionOutput(
            *(torch.where(mirrored_B.reshape(-1, *[1] * (own.ndim - 1)), other, own) for other, own in columns)
        )
        sharpness = self.net.keypoints.sharpness
        peaks = with_peaks(turned, sharpness).keypoints_2d
        return *turned.columns(), peaks, sharpness.expand(len(peaks), -1)


class Perception:
    """Predicts keypoints, pose, depth and mask of crops, with flip augmentation where both views are wanted.

    Args:
        net: trained; or its config, and what builds it when it is needed.
        network_of: gives the same network in use on crops of a side, when they are first seen; by default by PyTorch
            on the CPU.
        second: reads the keypoints of people in boxes, too (`sender.perception.read`); None where they are the
            network's own.
    """

    def __init__(
        self,
        net: PerceptionNet | tuple[PerceptionConfig, Callable[[], PerceptionNet]],
        network_of: Callable[[int], NetworkInUse] | None = None,
        second: SecondOpinion | None = None,
    ) -> None:
        self.config, self._build = net if isinstance(net, tuple) else (net.config, lambda: net)
        self.second = second
        self._graph = cache(lambda: PerceptionGraph(self.net).eval())
        self._network = cache(network_of or (lambda _side: NetworkInUse(self._graph, "bf16", CPU)))
        self._sharpness: Tensor | None = None

    @classmethod
    def load(
        cls,
        directory: Path = WEIGHTS_DIRECTORY,
        device: torch.device = CPU,
        keypoints: Keypoints = "fused",
    ) -> Self:
        """The shipped network; raises WeightsError where its weights are missing, damaged or of another version.

        Args:
            keypoints: whether people in boxes get a second opinion.
        """
        entry = find_entry(WEIGHTS_NAME, directory)
        stored = later(WEIGHTS_NAME, KIND, PerceptionConfig, PerceptionNet, directory)

        def network(side: int) -> NetworkInUse:
            example = torch.zeros(1, side, side, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.bool)
            precision, int8, graph = entry.precision, entry.int8, perception._graph
            return in_use(graph, example, WEIGHTS_NAME, precision, device, int8, threads=beside(), stored=entry)

        perception = cls(stored, network, SecondOpinion.load(device, directory) if keypoints == "fused" else None)
        perception._network(perception.size)
        return perception

    @cached_property
    def net(self) -> PerceptionNet:
        """The network itself."""
        return self._build().to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @property
    def size(self) -> int:
        """Side of the crops that `observe` takes of streams, pixels."""
        return self.config.size

    @property
    def still_size(self) -> int:
        """Side of the crops that `observe` takes of photographs, pixels."""
        return self.config.still_size or self.size

    def observe(self, crops: Sequence[ByteArray], view: View = "both") -> PerceptionOutput:
        """Predicts square crops (S, S, 3) uint8 RGB as one batch; errors and sizes as of `look`."""
        if view != "both":
            seen, peaks = self.look(crops, [view == "mirrored"] * len(crops))
            return replace(seen, keypoints_2d=peaks)
        seen, _ = self.look([*crops, *crops], [number >= len(crops) for number in range(2 * len(crops))])
        return self.with_peaks(mean([seen[: len(crops)], seen[len(crops) :]]))

    @torch.inference_mode()
    def look(self, crops: Sequence[ByteArray], mirrored: Sequence[bool]) -> tuple[PerceptionOutput, Tensor]:
        """Predicts square crops (S, S, 3) uint8 RGB as one batch; also gives the peaks (B, J, 2) of the heat maps.

        Those of another side than `size` and `still_size` are resampled to `size`.

        Args:
            mirrored: of which crops the network sees the mirror image; what that shows is mirrored back.

        Raises:
            ValueError: there is no crop, one is not square, or they differ in size.
        """
        shapes = {crop.shape for crop in crops}
        if len(shapes) != 1 or any(len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3 for shape in shapes):
            raise ValueError(f"expected square crops of one size in RGB, got {sorted(shapes)}")
        side = len(crops[0]) if len(crops[0]) == self.still_size else self.size
        each = zip(crops, mirrored, strict=True)
        pictures = torch.from_numpy(np.stack([crop[:, :: -1 if turned else 1] for crop, turned in each]))
        if pictures.shape[1] != side:
            images = resized(unit(as_bytes(pictures.numpy())), side)
            pictures = images.mul_(255).round_().byte().permute(0, 2, 3, 1).contiguous()
        *columns, peaks, sharpness = self._network(side)(pictures, torch.tensor(mirrored))
        self._sharpness = sharpness[0]
        return PerceptionOutput(*columns), peaks

    @torch.inference_mode()
    def with_peaks(self, average: PerceptionOutput) -> PerceptionOutput:
        """A mean of predictions that `look` gave, with its keypoints at the highest peaks of its heat maps."""
        assert self._sharpness is not None, "it has seen nothing"
        return with_peaks(average, self._sharpness)


def resized(images_BCHW: Tensor, side: int) -> Tensor:
    """Square images or maps (B, C, H, H) resampled to (B, C, side, side)."""
    if images_BCHW.shape[-1] == side:
        return images_BCHW
    reduced = images_BCHW.shape[-1] > side
    return functional.interpolate(images_BCHW, (side, side), mode="bilinear", align_corners=False, antialias=reduced)


def as_bytes(crops: ByteArray) -> Tensor:
    """uint8 RGB crops (B, S, S, 3) → (B, 3, S, S) uint8, channels last in memory; shares their memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2)


def unit(images_BCHW: Tensor) -> Tensor:
    """Images 0…1 from those of bytes; any other stay as they are."""
    return images_BCHW.float().div_(255.0) if images_BCHW.dtype == torch.uint8 else images_BCHW


ZOOMS: Final = ((1.0, False), (1.0, True), (0.85, False), (1.2, True))
"""Sides of the crops, over the one that the output belongs to, and whether the network sees their mirror images.

Chosen on the photographs held back from training: with both views of each side, keypoints are not more exact.
"""


def predict_zoomed(perception: Perception, image: Image, crops: Sequence[CropBox]) -> PerceptionOutput:
    """Predicts the people in crops of a photograph (H, W, 3) uint8 RGB; one row per crop, in its units.

    Raises:
        ValueError: there is no crop.
    """
    # Around the same centres, in whole pixels.
    sides = [(crop, max(1, round(zoom * crop.side))) for zoom, _ in ZOOMS for crop in crops]
    boxes = [
        CropBox(round(crop.centre[0] - side / 2), round(crop.centre[1] - side / 2), side, crop.roll)
        for crop, side in sides
    ]
    mirrored = [is_mirrored for _, is_mirrored in ZOOMS for _ in crops]
    seen, peaks = perception.look([box.cut(image, perception.still_size) for box in boxes], mirrored)
    seen = replace(seen, keypoints_2d=peaks)
    parts = [slice(start, start + len(crops)) for start in range(0, len(boxes), len(crops))]
    return perception.with_peaks(mean([in_crops(seen[part], boxes[part], crops, seen[parts[0]]) for part in parts]))


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
