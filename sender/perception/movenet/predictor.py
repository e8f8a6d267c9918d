"""Runs MoveNet: crops → 17 keypoints of one person each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final, Literal, Self, get_args

import numpy as np
import torch

from common.arrays import ByteArray, FloatArray
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import later
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from sender.perception.movenet.decode import MoveNetGraph
from sender.perception.movenet.network import MoveNetConfig, MoveNetNet

Name = Literal["movenet_lightning", "movenet_thunder"]
"""Crops of 192 pixels, or of 256 and 1.75 times the width."""
NAMES: tuple[Name, ...] = get_args(Name)
KIND = "movenet-singlepose-4"
MARGIN: Final = 1.1
"""Side of the crop over the longer side of the person's box."""


@dataclass(frozen=True, slots=True)
class MoveNetKeypoints:
    """Keypoints of B crops, in the order of COCO; lengths in units of square crops, 0…1.

    Args:
        places: (B, 17, 2) x, y.
        score: (B, 17) the heat map where the keypoint is, 0…1.
        spread: (B, 17) standard deviation of the heat map around its peak, of one coordinate.
        apart: (B, 17) distance between the keypoint and the one that the person's centre regresses.
    """

    places: FloatArray
    score: FloatArray
    spread: FloatArray
    apart: FloatArray


class MoveNet:
    """Finds the keypoints of the person in the middle of a crop.

    Args:
        compiled: makes `MoveNetGraph` in use for crops of a width.
        size: S, height of the crops in pixels.
        narrow: width of those that show the middle alone.
    """

    def __init__(self, compiled: Callable[[int], NetworkInUse], size: int, narrow: int) -> None:
        self._compiled, self.size, self.narrow = compiled, size, narrow

    @cached_property
    def _networks(self) -> dict[int, NetworkInUse]:
        """By the width of crops: compiled when somebody is seen, as most sources need one network of MoveNet's."""
        return {width: self._compiled(width) for width in (self.size, self.narrow)}

    @classmethod
    def load(cls, name: Name, device: torch.device = CPU, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """A shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        config, build = later(name, KIND, MoveNetConfig, MoveNetNet, directory)
        entry, size = find_entry(name, directory), config.size

        @cache
        def graph() -> MoveNetGraph:
            return MoveNetGraph(build().to(memory_format=torch.channels_last))

        def compiled(width: int) -> NetworkInUse:
            example = torch.zeros(1, size, width, 3, dtype=torch.uint8)
            return in_use(graph, (example,), name, entry.precision, device, entry.int8, stored=entry)

        network = cls(compiled, size, config.narrow)
        if device.type != "cpu":
            # A GPU's graphs are captured while nothing else runs.
            _ = network._networks
        return network

    def observe(self, crops: Sequence[ByteArray]) -> MoveNetKeypoints:
        """Keypoints in crops (S, W, 3) uint8 RGB, black beyond the picture.

        Raises:
            ValueError: there is no crop, they differ in shape, or are of another shape.
        """
        shapes = {crop.shape for crop in crops}
        network = self._networks.get(crops[0].shape[1]) if len(shapes) == 1 else None
        if network is None or crops[0].shape[::2] != (self.size, 3):
            raise ValueError(f"expected RGB crops of {self.size}×{[*self._networks]} pixels, got {sorted(shapes)}")
        return MoveNetKeypoints(*(each.numpy() for each in network(torch.from_numpy(np.stack(crops)))))
