"""From labels to bones alone, for consumers of skeletons: no mesh is made."""

from typing import Self

import torch

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.labels import LABEL_SIZE
from common.weights.devices import to_numpy
from common.weights.inference import NetworkInUse, in_use
from receiver.engine.people_network import BonesNetwork


class Bones:
    """Poses one skeleton at a time, on the processor."""

    def __init__(self, network: NetworkInUse) -> None:
        self._network = network

    @classmethod
    def load(cls) -> Self:
        """With the package's body. Raises WeightsError if its files are missing."""
        network = BonesNetwork(LabelSpace.load(), KeypointKinematics(BodyModel.load()))
        return cls(in_use(network, [torch.zeros(1, LABEL_SIZE)], "bones"))

    def pose(self, labels: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Heads of the bones (S, 3), metres, and their rotations (S, 3, 3) in camera space, of labels (LABEL_SIZE,)."""
        positions, rotations, *_ = self._network(torch.from_numpy(labels[None]))
        return to_numpy(positions)[0], to_numpy(rotations)[0]
