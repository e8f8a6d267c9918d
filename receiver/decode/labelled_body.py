"""What the labels of people say without any network: parameters of their bodies, and colours of the regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.frames import PersonLabels
from common.labels import concatenate
from common.weights.devices import device_of


@dataclass(frozen=True, slots=True)
class LabelledBody:
    """The bodies of B people.

    Args:
        parameters: in camera space.
        colours: (B, R, 3) colours of the body regions in 0…1.
        coloured: (B,) whether any `appearance` entry was received; if none was, the colours are the average person's.
    """

    parameters: BodyParameters
    colours: Tensor
    coloured: Tensor


@torch.inference_mode()
def read_labels(people: Sequence[PersonLabels], space: LabelSpace) -> LabelledBody:
    """Bodies of people with any subset of the label groups and any prefix of a group, on the device of the space.

    Raises:
        ValueError: a label group is unknown or too long.
    """
    device = device_of(space)
    labels_BL = torch.from_numpy(np.stack([concatenate(person.labels) for person in people])).to(device)
    coloured = torch.tensor([len(person.labels.get("appearance", ())) > 0 for person in people], device=device)
    return LabelledBody(space.decode(labels_BL), space.decode_colours(labels_BL), coloured)
