"""Label entries of people from perception's features and keypoints: what is predicted, refined.

On a CPU, OpenVINO runs the predictor, and NumPy the refinement: 1 ms a person.  On a GPU both are one graph, so that
the people of all cameras are fitted together and the interpreter is free meanwhile.

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.weights.devices import to_numpy
from common.weights.inference import NetworkInUse
from sender.perception.output import FEATURE_SIZE
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.refine import Refiner, Targets


@dataclass(frozen=True, slots=True)
class FittedEntries:
    """Entries before and after the refinement and standard deviations, (B, E); keypoints (B, K, 2), crop units."""

    predicted: FloatArray
    sigma: FloatArray
    refined: FloatArray
    keypoints: FloatArray


class Fitter(Protocol):
    """Fits entries to features (B, …) and targets.  `correction` is that of `Refiner.refine`."""

    def __call__(self, features: Tensor, targets: Targets, correction: FloatArray | None) -> FittedEntries: ...


class FitterOnHost:
    """By the predictor in use and a refiner of arrays."""

    def __init__(self, network: NetworkInUse, refiner: Refiner) -> None:
        self._network, self._refiner = network, refiner

    def __call__(self, features: Tensor, targets: Targets, correction: FloatArray | None) -> FittedEntries:
        entries, sigma = map(to_numpy, self._network(features))
        refined = self._refiner.refine(entries, sigma, targets, correction)
        return FittedEntries(entries, sigma, refined, self._refiner.projected(refined, targets.focal))


class FittingNetwork(nn.Module):
    """Predictor and refinement as one network.

    Args:
        predictor: features → entries and their standard deviations (`sender.semantics.predictor`).
        keypoints: of arrays.
        follows: whether it goes on from a correction.
    """

    def __init__(self, predictor: nn.Module, keypoints: KeypointJacobian, *, follows: bool) -> None:
        super().__init__()
        self.predictor, self._follows = predictor, follows
        for field in fields(keypoints):
            self.register_buffer(field.name, torch.from_numpy(getattr(keypoints, field.name)), persistent=False)

    @classmethod
    def example(cls) -> tuple[Tensor, ...]:
        """Inputs of one row."""
        rows = [torch.zeros(1, 17, columns) for columns in (2, 1, 3, 1)]
        weights = torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)
        people = *weights, torch.ones(1, 5, 3), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        return torch.zeros(1, FEATURE_SIZE), torch.zeros(1, ENTRIES), *rows, *people

    def forward(self, features: Tensor, correction: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
        """The fields of `FittedEntries`, from those of `Targets`."""
        keypoints = KeypointJacobian(*(getattr(self, field.name) for field in fields(KeypointJacobian)))
        refiner, given = Refiner(keypoints), Targets(*targets)
        entries, sigma = self.predictor(features)
        refined = refiner.refine(entries, sigma, given, correction if self._follows else None)
        return entries, sigma, refined, refiner.projected(refined, given.focal)


class FitterOnGpu:
    """By two networks in use: for people who are seen anew, and for those who follow a correction."""

    def __init__(self, anew: NetworkInUse, following: NetworkInUse) -> None:
        self._anew, self._following = anew, following

    def __call__(self, features: Tensor, targets: Targets, correction: FloatArray | None) -> FittedEntries:
        network = self._anew if correction is None else self._following
        begin = np.zeros((len(features), ENTRIES), np.float32) if correction is None else correction
        arrays = (begin, *(getattr(targets, field.name) for field in fields(targets)))
        return FittedEntries(*map(to_numpy, network(features, *map(torch.from_numpy, arrays))))
