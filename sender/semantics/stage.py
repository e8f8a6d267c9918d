"""The semantics stage: perception's output for each person → semantic labels in the frame's camera space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.errors import WeightsError
from common.frames import Camera, PersonLabels
from common.labels import group_slices, split
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_into
from common.weights.manifest import find_entry
from sender.perception.inference.crop import to_frame
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.semantics.categorical import moments
from sender.semantics.confidence import KeypointConfidence, evidence
from sender.semantics.config import SmoothingConfig
from sender.semantics.crop_labels import FEATURE_SIZE, body_in_crop, semantic_features
from sender.semantics.cvae import ENTRIES, SemanticCVAE, SemanticsConfig
from sender.semantics.refine import Refiner
from sender.semantics.region_colours import RegionColours
from sender.semantics.smoothing import LabelSmoother

WEIGHTS_NAME = "semantics"

# Standard deviation of an entry over the training poses: a prediction with this one has no confidence.
_UNKNOWN_SIGMA = 1.0
# A group's confidence is that of its leading entries.
_LEADING_ENTRIES = 3
_COLOUR_SIGMA = 0.3


def architecture(config: SemanticsConfig) -> dict[str, int]:
    """The network as the manifest records it: everything that determines the shapes of its weights."""
    return {"features": config.feature_size, "latent": config.latent_size, "hidden": config.hidden_size}


def load_network() -> SemanticCVAE:
    """The network of the package; raises WeightsError where its weights are missing or of another version."""
    recorded = find_entry(WEIGHTS_NAME).architecture
    try:
        config = SemanticsConfig(recorded["features"], recorded["latent"], recorded["hidden"])
    except KeyError as error:
        raise WeightsError(f"weights {WEIGHTS_NAME!r} are of another version: reinstall bodywire") from error
    if config.feature_size != FEATURE_SIZE:
        raise WeightsError(f"weights {WEIGHTS_NAME!r} belong to another perception network: retrain them")
    return load_into(SemanticCVAE(config), WEIGHTS_NAME)


@dataclass(frozen=True, slots=True)
class Fit:
    """What the labels of B people are made of.

    Args:
        sigma: (B, E) standard deviations of the label entries.
        bodies: in the camera spaces of their crops.
        keypoints: (B, 17, 2) of these bodies, crop units.
        evidence: (B, L, F) of their limbs' certainty (`sender.semantics.confidence`).
    """

    sigma: Tensor
    bodies: BodyParameters
    keypoints: Tensor
    evidence: Tensor


class Predictor(nn.Module):
    """The CVAE in use: features X (B, F) → mean and standard deviation (B, E) of the label entries."""

    def __init__(self, network: SemanticCVAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return moments(self.network(features))


class SemanticsStage:
    """Turns observations into `PersonLabels`; keeps each identity's colours and filter state from frame to frame.

    Args:
        network: `Predictor` in use.
        smoother: smooths the labels over time, if given.
        confidence: estimates the confidence of limbs; without it, theirs too is that of the label entries.
    """

    def __init__(
        self,
        network: NetworkInUse,
        space: LabelSpace,
        refiner: Refiner,
        smoother: LabelSmoother | None = None,
        confidence: KeypointConfidence | None = None,
    ) -> None:
        self._refiner = refiner
        self._smoother = smoother
        self._confidence = confidence
        self._network = network
        self._space = space
        self._colours: dict[int, RegionColours] = {}
        self._corrections: dict[int, Tensor] = {}

    @classmethod
    def load(
        cls,
        smoothing: SmoothingConfig | None = None,
        device: torch.device = CPU,
        *,
        calibrated: bool = True,
        sharing: Self | None = None,
    ) -> Self:
        """With the shipped weights.

        Args:
            device: of the network; the refinement, hundreds of operations on a few numbers, stays on the CPU.
            calibrated: whether the confidence of limbs is calibrated; else it is that of their label entries.
            sharing: a stage whose networks and calibration it uses.

        Raises:
            WeightsError: weights are missing or of another version.
        """
        smoother = LabelSmoother(smoothing.smoothing) if smoothing and smoothing.smoothing else None
        if sharing:
            return cls(sharing._network, sharing._space, sharing._refiner, smoother, sharing._confidence)
        predictor = Predictor(load_network())
        example = (torch.zeros(1, FEATURE_SIZE),)
        network = in_use(predictor, example, WEIGHTS_NAME, find_entry(WEIGHTS_NAME).precision, device)
        space = LabelSpace.load()
        refiner = Refiner(space, KeypointKinematics(BodyModel.load()))
        return cls(network, space, refiner, smoother, KeypointConfidence.load() if calibrated else None)

    @property
    def smooths(self) -> bool:
        """Whether labels are smoothed over time."""
        return self._smoother is not None

    def reset(self) -> None:
        self._colours.clear()
        self._corrections.clear()
        if self._smoother is not None:
            self._smoother.reset()

    @torch.inference_mode()
    def label(
        self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float = 0.0
    ) -> tuple[PersonLabels, ...]:
        """Labels of the people in a frame, in their order.

        Args:
            time_s: when the frame was captured, on the source's clock; images, which have no time, are not smoothed.
        """
        if not observed:
            return ()
        fit = self.fit(observed, camera)
        bodies = BodyParameters.concatenate(
            [to_frame(fit.bodies[row : row + 1], person.crop, camera) for row, person in enumerate(observed)]
        )
        colours = torch.stack([self._colours_of(person) for person in observed])
        labels = self._space.encode(bodies, colours)
        if self._smoother is not None:
            people = zip(observed, labels.numpy(), strict=True)
            smoothed = [self._smoother.smooth(person.identity, time_s, row, person.view) for person, row in people]
            labels = torch.from_numpy(np.stack(smoothed))
        confidence = self._confidence.limbs(fit.evidence) if self._confidence else [{} for _ in observed]
        return tuple(
            _person_labels(person, labels[row], fit.sigma[row], confidence[row]) for row, person in enumerate(observed)
        )

    def fit(self, observed: Sequence[ObservedPerson], camera: Camera) -> Fit:
        """The bodies that fit what perception saw of B ≥ 1 people, before any smoothing."""
        output = PerceptionOutput.concatenate([person.output for person in observed])
        entries, sigma = (values.cpu() for values in self._network(semantic_features(self._space, output)))
        focal = torch.tensor([camera.focal_px / person.crop.side for person in observed])
        entries = self._refined(observed, entries, sigma, output, focal)
        in_crop = body_in_crop(self._space, entries, focal)
        score = torch.tensor([person.score for person in observed])
        projected = self._refiner.projected(in_crop, focal)
        return Fit(sigma, in_crop, projected, evidence(output, projected, sigma, score))

    def _refined(
        self,
        observed: Sequence[ObservedPerson],
        entries: Tensor,
        sigma: Tensor,
        output: PerceptionOutput,
        focal: Tensor,
    ) -> Tensor:
        """Refined entries (B, E); where labels are smoothed, and all people were in the frame before, from there on."""
        last = self._corrections
        known = [last[person.identity] for person in observed if person.identity in last]
        correction = torch.stack(known) if len(known) == len(observed) else None
        refined = self._refiner.refine(entries, sigma, output, focal, correction)
        if self.smooths:
            changes = zip(observed, refined - entries, strict=True)
            self._corrections = {person.identity: change for person, change in changes}
        return refined

    def _colours_of(self, person: ObservedPerson) -> Tensor:
        colours = self._colours.setdefault(person.identity, RegionColours())
        return colours.update(person.output.region_colours[0].float(), person.output.region_area[0].float())


def _person_labels(person: ObservedPerson, labels: Tensor, sigma: Tensor, limbs: Mapping[str, float]) -> PersonLabels:
    """One person's labels by group, with standard deviations and confidences."""
    all_sigma = torch.full_like(labels, _COLOUR_SIGMA)
    all_sigma[:ENTRIES] = sigma
    confidence = {
        name: limbs[name] if name in limbs else confidence_of_entries(all_sigma[entries])
        for name, entries in group_slices().items()
    }
    values, deviations = split(labels.numpy()), split(all_sigma.numpy())
    # Clothes are read later (`sender.clothing`).
    del values["surface"], deviations["surface"], confidence["surface"]
    return PersonLabels(person.identity, person.score, values, deviations, confidence)


def confidence_of_entries(sigma: Tensor) -> float:
    """A group's confidence, 0…1, from the standard deviations of its entries alone."""
    return 1 - min(1.0, float(sigma[:_LEADING_ENTRIES].mean()) / _UNKNOWN_SIGMA)
