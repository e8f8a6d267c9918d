"""Runs the trained perception network: crops → `PerceptionOutput`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import ByteArray
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import later
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from common.weights.threads import beside
from sender.perception.config import Keypoints
from sender.perception.inference.flip_augmentation import Mirror, mean, with_peaks
from sender.perception.movenet.second_opinion import SecondOpinion
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.view_turns import View

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
        turned = PerceptionOutput(*(chosen(mirrored_B, *pair) for pair in columns))
        sharpness = self.net.keypoints.sharpness
        peaks = with_peaks(turned, sharpness).keypoints_2d
        return *turned.columns(), peaks, sharpness.expand(len(peaks), -1)


def chosen(first_B: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Rows of `one` where `first_B`, else of `other`."""
    return torch.where(first_B.reshape(-1, *[1] * (one.ndim - 1)), one, other)


class Perception:
    """Predicts keypoints, pose, depth and mask of crops, with flip augmentation where both views are wanted.

    Args:
        net: trained; or its config, and what builds it when it is needed.
        network_of: gives the same network in use on crops of a side, when they are first seen; by default by PyTorch
            on the CPU.
        second: reads the keypoints of people in boxes, too (`refine_boxes.predict_in_boxes`); None where they are the
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
        self._network_of = network_of or (lambda _side: NetworkInUse(self._graph, "bf16", CPU))
        self._networks: dict[int, NetworkInUse] = {}
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

    def _network(self, side: int) -> NetworkInUse:
        if side not in self._networks:
            self._networks[side] = self._network_of(side)
        return self._networks[side]

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
            images = resized(as_images(pictures.numpy()), side)
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


def as_images(crops: ByteArray) -> Tensor:
    """uint8 RGB crops (B, S, S, 3) → (B, 3, S, S) 0…1, channels last in memory."""
    return unit(as_bytes(crops))


def as_bytes(crops: ByteArray) -> Tensor:
    """uint8 RGB crops (B, S, S, 3) → (B, 3, S, S) uint8, channels last in memory; shares their memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2)


def unit(images_BCHW: Tensor) -> Tensor:
    """Images 0…1 from those of bytes; any other stay as they are."""
    return images_BCHW.float().div_(255.0) if images_BCHW.dtype == torch.uint8 else images_BCHW
