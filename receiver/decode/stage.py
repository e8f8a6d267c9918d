"""The decode stage: received labels → body parameters, mixture latent z', three levels of geometry features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.body.anatomy import POINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.body.surface_space import SURFACE_SIZE
from common.frames import PersonLabels
from common.labels import LABEL_SIZE, concatenate, group_slices
from common.weights.devices import CPU, device_of
from common.weights.loader import architecture_of, load_into
from receiver.decode.clothing import Clothing
from receiver.decode.mixture import GaussianMixture
from receiver.decode.network import DecodeConfig, DecodeNetwork

WEIGHTS_NAME = "decode"


@dataclass(frozen=True, slots=True)
class DecodedBody:
    """What the network makes of the labels of B people, in the same order in every field.

    Args:
        s_levels: s_1 (B, 32, 6), s_2 (B, 128, 6), s_3 (B, 512, 6) in the root frame (upright, pelvis at the origin):
            mean position in metres and mean normal of each patch (22).
        z_prime: (B, D) latents (21).
        clothing: `surface` and `shape` labels, for the diffusion stage.
        clothes_known: (B) whether all `surface` entries of a person were received.
    """

    s_levels: tuple[Tensor, Tensor, Tensor]
    z_prime: Tensor
    clothing: Clothing
    clothes_known: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.z_prime)


@dataclass(frozen=True, slots=True)
class LabelledBody:
    """What the labels of B people say without any network.

    Args:
        parameters: in camera space; used for skinning and to move results from the root frame into camera space.
        colours: (B, R, 3) colours of the body regions in 0…1.
        coloured: (B,) whether any `appearance` entry was received; if none was, the colours are the average person's.
    """

    parameters: BodyParameters
    colours: Tensor
    coloured: Tensor


def arrived_vectors(people: Sequence[PersonLabels]) -> tuple[Tensor, Tensor]:
    """(labels, mask of received entries), both (B, LABEL_SIZE); groups may be missing or truncated to a prefix.

    Raises:
        ValueError: a group is unknown or too long.
    """
    labels = np.stack([concatenate(person.labels) for person in people])
    present = torch.zeros(len(people), LABEL_SIZE)
    slices = group_slices()
    for row, person in enumerate(people):
        for name, values in person.labels.items():
            present[row, slices[name].start : slices[name].start + len(values)] = 1
    return torch.from_numpy(labels), present


def load_network() -> DecodeNetwork:
    """The network with the package's weights. Raises WeightsError if they are missing or of another version."""
    config = DecodeConfig()
    return load_into(DecodeNetwork(config, torch.arange(POINTS)), WEIGHTS_NAME, architecture_of(config))


class DecodeStage:
    """Decodes `PersonLabels` into a `LabelledBody` and a `DecodedBody`; keeps no state between frames."""

    def __init__(self, network: DecodeNetwork, label_space: LabelSpace) -> None:
        self.network = network.eval()
        self.label_space = label_space

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the package's weights, on `device`. Raises WeightsError if they are missing or of another version."""
        return cls(load_network().to(device), LabelSpace.load().to(device))

    @torch.inference_mode()
    def decode(self, people: Sequence[PersonLabels], generator: torch.Generator | None = None) -> DecodedBody:
        """Decodes the people of a frame in one batch.

        Args:
            people: at least one; each with any subset of the label groups and any prefix of a group.
            generator: draws z' from the mixture (21); without one z' is the mode, which is deterministic.

        Raises:
            ValueError: `people` is empty, or a label group is unknown or too long.
        """
        labels_BL, present_BL = self._arrived(people)
        z_prime = self.latent(labels_BL, present_BL, generator)
        return DecodedBody(
            s_levels=self.network.decoder(z_prime),
            z_prime=z_prime,
            clothing=Clothing.from_labels(labels_BL, present_BL),
            clothes_known=tuple(len(person.labels.get("surface", ())) == SURFACE_SIZE for person in people),
        )

    @torch.inference_mode()
    def read(self, people: Sequence[PersonLabels]) -> LabelledBody:
        """Body parameters and colours, which need no network.

        Raises:
            ValueError: `people` is empty, or a label group is unknown or too long.
        """
        labels_BL, present_BL = self._arrived(people)
        return LabelledBody(
            self.label_space.decode(labels_BL),
            self.label_space.decode_colours(labels_BL),
            present_BL[:, group_slices()["appearance"]].any(dim=1),
        )

    def _arrived(self, people: Sequence[PersonLabels]) -> tuple[Tensor, Tensor]:
        if not people:
            raise ValueError("decode needs at least one person")
        device = device_of(self.network)
        labels_BL, present_BL = arrived_vectors(people)
        return labels_BL.to(device), present_BL.to(device)

    def latent(self, labels_BL: Tensor, present_BL: Tensor, generator: torch.Generator | None) -> Tensor:
        """z' (B, D): a sample (21), or the mode if there is no generator."""
        y, present = labels_BL[:, self.network.entries], present_BL[:, self.network.entries]
        if generator is None:
            return self.network.encoder.mode(y, present)
        mixture: GaussianMixture = self.network.encoder(y, present)
        return mixture.sample(generator)
