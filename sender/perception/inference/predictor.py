"""Runs the trained perception network: crops → `PerceptionOutput`."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import ByteArray
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from sender.perception.inference.flip_augmentation import mean, mirrored, with_peaks
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.view_turns import View

WEIGHTS_NAME = "perception"
KIND = "perception-vit-1"


class PlainOutputs(nn.Module):
    """The network with the fields of its output as a tuple."""

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image_B3SS: Tensor) -> tuple[Tensor, ...]:
        output = self.net(image_B3SS)
        return tuple(getattr(output, field.name) for field in fields(output))


class Perception:
    """Predicts keypoints, pose, depth and mask of crops, with flip augmentation where both views are wanted.

    Args:
        net: trained.
        network_of: gives the same network in use on crops of a side, when they are first seen; by default by PyTorch
            on the CPU.
    """

    def __init__(self, net: PerceptionNet, network_of: Callable[[int], NetworkInUse] | None = None) -> None:
        self.net = net.eval().requires_grad_(False)
        self._network_of = network_of or (lambda _side: NetworkInUse(PlainOutputs(self.net), "bf16", CPU))
        self._networks: dict[int, NetworkInUse] = {}

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY, device: torch.device = CPU) -> Self:
        """The shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        net = load_recorded(WEIGHTS_NAME, KIND, PerceptionConfig, PerceptionNet, directory)
        net = net.to(memory_format=torch.channels_last)
        entry, plain = find_entry(WEIGHTS_NAME, directory), PlainOutputs(net)

        def network(side: int) -> NetworkInUse:
            return in_use(plain, (torch.zeros(1, 3, side, side),), WEIGHTS_NAME, entry.precision, device, entry.int8)

        perception = cls(net, network)
        perception._network(perception.size)
        return perception

    @property
    def size(self) -> int:
        """Side of the crops that `observe` takes of streams, pixels."""
        return self.net.config.size

    @property
    def still_size(self) -> int:
        """Side of the crops that `observe` takes of photographs, pixels."""
        return self.net.config.still_size or self.size

    def _network(self, side: int) -> NetworkInUse:
        if side not in self._networks:
            self._networks[side] = self._network_of(side)
        return self._networks[side]

    @torch.inference_mode()
    def observe(self, crops: Sequence[ByteArray], view: View = "both") -> PerceptionOutput:
        """Predicts square crops (S, S, 3) uint8 RGB as one batch.

        Those of another side than `size` and `still_size` are resampled to `size`.

        Raises:
            ValueError: there is no crop, one is not square, or they differ in size.
        """
        shapes = {crop.shape for crop in crops}
        if len(shapes) != 1 or any(len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3 for shape in shapes):
            raise ValueError(f"expected square crops of one size in RGB, got {sorted(shapes)}")
        side = len(crops[0]) if len(crops[0]) == self.still_size else self.size
        images = resized(as_images(np.stack(crops)), side)
        views = {"both": [images, images.flip(-1)], "plain": [images], "mirrored": [images.flip(-1)]}[view]
        batch = torch.cat(views).contiguous(memory_format=torch.channels_last)
        seen = PerceptionOutput(*self._network(side)(batch))
        if view == "both":
            seen = mean([seen[: len(crops)], mirrored(seen[len(crops) :])])
        elif view == "mirrored":
            seen = mirrored(seen)
        return self.with_peaks(seen).to(CPU)

    @torch.inference_mode()
    def with_peaks(self, average: PerceptionOutput) -> PerceptionOutput:
        """A mean of predictions, with its keypoints at the highest peaks of its heat maps."""
        return with_peaks(self.net, average)


def resized(images_BCHW: Tensor, side: int) -> Tensor:
    """Square images or maps (B, C, H, H) resampled to (B, C, side, side)."""
    if images_BCHW.shape[-1] == side:
        return images_BCHW
    reduced = images_BCHW.shape[-1] > side
    return functional.interpolate(images_BCHW, (side, side), mode="bilinear", align_corners=False, antialias=reduced)


def as_images(crops: ByteArray) -> Tensor:
    """uint8 RGB crops (B, S, S, 3) → (B, 3, S, S) 0…1, channels last in memory."""
    return unit(as_bytes(crops))


def as_bytes(crops: ByteArray) -> Tensor:
    """uint8 RGB crops (B, S, S, 3) → (B, 3, S, S) uint8, channels last in memory; shares their memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2)


def unit(images_BCHW: Tensor) -> Tensor:
    """Images 0…1 from those of bytes; any other stay as they are."""
    return images_BCHW.float().div_(255.0) if images_BCHW.dtype == torch.uint8 else images_BCHW
