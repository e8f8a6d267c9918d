"""From labels to bones and facial actions, for consumers of skeletons: no mesh is made."""

from typing import Self

import torch

from common.arrays import FloatArray
from common.body.faces import ExpressionSpace
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import PersonLabels, has_face
from common.labels import LABEL_SIZE, concatenate
from common.weights.devices import to_numpy
from common.weights.inference import NetworkInUse, in_use
from receiver.engine.reconstructor import BonesNetwork


class Bones:
    """Poses one skeleton at a time, on the processor."""

    def __init__(self, network: NetworkInUse, expression: ExpressionSpace) -> None:
        self._network, self._expression = network, expression

    @classmethod
    def load(cls) -> Self:
        """With the package's body. Raises WeightsError if its files are missing."""
        network = BonesNetwork(LabelSpace.load(), KeypointKinematics(BodyModel.load()))
        return cls(in_use(network, [torch.zeros(1, LABEL_SIZE)], "bones"), ExpressionSpace.load())

    def posed(self, person: PersonLabels) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Heads of the bones (S, 3), metres, their rotations (S, 3, 3) in camera space, and the facial actions.

        These are activations (52,); None if nothing is known of the face.
        """
        labels = torch.from_numpy(concatenate(person.labels)[None])
        positions, rotations, *_ = self._network(labels)
        activations = to_numpy(self._expression.activations(labels))[0] if has_face(person) else None
        return to_numpy(positions)[0], to_numpy(rotations)[0], activations
