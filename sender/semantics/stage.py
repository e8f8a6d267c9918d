"""The semantics stage: perception's output for each person → semantic labels in the frame's camera space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_MEAN, TRANSLATION_SCALE, LabelSpace
from common.frames import Camera, PersonLabels
from common.labels import LABEL_SIZE, OPTIONAL_GROUPS, ROTATION_SCALE, group_slices
from common.weights.devices import CPU, to_numpy
from common.weights.inference import in_use
from common.weights.manifest import find_entry
from sender.perception.inference.crop import CropBox, to_frame
from sender.perception.network.output import FEATURE_SIZE as PERCEPTION_FEATURES
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.perception.tracking.known_people import KnownPeople
from sender.semantics.confidence import KeypointConfidence, evidence
from sender.semantics.config import SmoothingConfig
from sender.semantics.crop_labels import ENTRIES, pelvis_in_crop
from sender.semantics.fitting import Fitter, FitterOnGpu, FitterOnHost, FittingNetwork
from sender.semantics.keypoint_jacobian import CROSS, orientation
from sender.semantics.predictor import ERRORS_NAME, PoseHead
from sender.semantics.refine import Refiner, Targets
from sender.semantics.region_colours import RegionColours
from sender.semantics.smoothing import LabelSmoother
from sender.semantics.visibility import SteadyConfidence, limb_log_odds

# Standard deviation of an entry over the training poses: a prediction with this one has no confidence.
_UNKNOWN_SIGMA = 1.0
_COLOUR_SIGMA = 0.3
_ROOT, _APPEARANCE = group_slices()["root"], group_slices()["appearance"]
# Clothes are read later (`sender.clothing`).
_GROUPS = {name: group for name, group in group_slices().items() if name not in ("surface", *OPTIONAL_GROUPS)}
# A group's confidence is that of its leading entries, (G, 3).
_LEADING_ENTRIES = 3
_LEADING = np.array([np.arange(_LEADING_ENTRIES) + group.start for group in _GROUPS.values()])


@dataclass(frozen=True, slots=True)
class Fit:
    """What the labels of B people are made of.

    Args:
        entries, sigma: (B, E) label entries in the crops (`sender.semantics.crop_labels`), their standard deviations.
        focal: (B,) focal lengths in crop widths.
        keypoints: (B, 17, 2) of the bodies, crop units.
        evidence: (B, L, F) of their limbs' certainty (`sender.semantics.confidence`).
    """

    entries: FloatArray
    sigma: FloatArray
    focal: FloatArray
    keypoints: FloatArray
    evidence: FloatArray

    def in_frame(self, row: int, crop: CropBox, camera: Camera) -> FloatArray:
        """One person's label entries (E,) in the frame's camera space."""
        entries, focal = self.entries[row : row + 1], self.focal[row : row + 1, None]
        root, pelvis = orientation(entries, CROSS)[0], pelvis_in_crop(entries, focal)[0]
        root, (x, y, z) = to_frame(root, pelvis, crop, camera)
        position = (np.array([x / z, y / z, np.log(z)]) - TRANSLATION_MEAN) / TRANSLATION_SCALE
        return np.concatenate([root[:, :2].T.ravel() / ROTATION_SCALE, position, entries[0, _ROOT.stop :]])


@dataclass(slots=True)
class _Known:
    """What is remembered of one person."""

    colours: RegionColours = field(default_factory=RegionColours)
    confidence: SteadyConfidence = field(default_factory=SteadyConfidence)


class SemanticsStage:
    """Turns observations into `PersonLabels`; keeps each identity's colours, filter state and confidences.

    Args:
        smoother: smooths the labels over time, if given.
        confidence: estimates the confidence of limbs; without it, theirs too is that of the label entries.
    """

    def __init__(
        self,
        fitter: Fitter,
        space: LabelSpace,
        smoother: LabelSmoother | None = None,
        confidence: KeypointConfidence | None = None,
    ) -> None:
        self._fitter = fitter
        self._smoother = smoother
        self._confidence = confidence
        self._space = space
        self._people = KnownPeople(_Known)
        self._corrections: dict[int, FloatArray] = {}

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
            device: of the network and, where it is a GPU, the refinement.
            calibrated: whether the confidence of limbs is calibrated; else it is that of their label entries.
            sharing: a stage whose networks and calibration it uses.

        Raises:
            WeightsError: weights are missing or of another version.
        """
        smoother = LabelSmoother(smoothing.smoothing) if smoothing and smoothing.smoothing else None
        if sharing:
            return cls(sharing._fitter, sharing._space, smoother, sharing._confidence)
        return cls(_load_fitter(device), LabelSpace.load(), smoother, KeypointConfidence.load() if calibrated else None)

    @property
    def smooths(self) -> bool:
        """Whether labels are smoothed over time."""
        return self._smoother is not None

    def reset(self) -> None:
        self._people.clear()
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
        self._people.see((person.identity for person in observed), time_s)
        if not observed:
            return ()
        fit = self.fit(observed, camera)
        limbs = self._confidence.limbs(fit.evidence) if self._confidence else [{} for _ in observed]
        made = []
        for row, person in enumerate(observed):
            entries = fit.in_frame(row, person.crop, camera)
            labels = _person_labels(person, self._labels(person, entries, time_s), fit.sigma[row], limbs[row])
            seen = limb_log_odds(person.output, fit.keypoints[row], person.crop, camera)
            steady = self._people[person.identity].confidence.steady(time_s, labels.confidence, seen)
            made.append(replace(labels, confidence=steady))
        return tuple(made)

    def fit(self, observed: Sequence[ObservedPerson], camera: Camera) -> Fit:
        """The bodies that fit what perception saw of B ≥ 1 people, before any smoothing."""
        output = observed[0].output
        if len(observed) > 1:
            output = PerceptionOutput.concatenate([person.output for person in observed])
        focal = np.array([camera.focal_px / person.crop.side for person in observed], np.float32)
        last = self._corrections
        known = [last[person.identity] for person in observed if person.identity in last]
        # Where labels are smoothed, and all people were in the frame before, from there on.
        correction = np.stack(known) if len(known) == len(observed) else None
        fitted = self._fitter(output.features(), Targets.from_output(output, focal), correction)
        if self.smooths:
            changes = zip(observed, fitted.refined - fitted.predicted, strict=True)
            self._corrections = {person.identity: change for person, change in changes}
        score = np.array([person.score for person in observed], np.float32)
        certainty = evidence(output, fitted.keypoints, fitted.sigma, score)
        return Fit(fitted.refined, fitted.sigma, focal, fitted.keypoints, certainty)

    def _labels(self, person: ObservedPerson, entries: FloatArray, time_s: float) -> FloatArray:
        """One person's labels (LABEL_SIZE,) with colours, smoothed; from entries (E,) in the frame's camera space."""
        colours = self._people[person.identity].colours
        output = person.output
        step_s = self._people.clock.step_s
        known = colours.update(to_numpy(output.region_colours[0]), to_numpy(output.region_area[0]), step_s)
        labels = np.zeros(LABEL_SIZE, np.float32)
        labels[:ENTRIES] = entries
        labels[_APPEARANCE] = self._space.encode_colours(torch.from_numpy(known)[None])[0].numpy()
        if self._smoother is None:
            return labels
        return self._smoother.smooth(person.identity, time_s, labels, person.view)


def _load_fitter(device: torch.device) -> Fitter:
    predictor, refiner = PoseHead.load(), Refiner.load()
    name, precision = ERRORS_NAME, find_entry(ERRORS_NAME).precision
    if device.type != "cpu":
        both = (FittingNetwork(predictor, refiner.keypoints, follows=follows) for follows in (False, True))
        anew, following = (in_use(each, each.example(), name, precision, device) for each in both)
        # NumPy is faster than a thousand launches.
        if anew.is_one_graph and following.is_one_graph:
            return FitterOnGpu(anew, following)
    example = (torch.zeros(1, PERCEPTION_FEATURES),)
    return FitterOnHost(in_use(predictor, example, name, precision, device), refiner)


def _person_labels(
    person: ObservedPerson, labels: FloatArray, sigma: FloatArray, limbs: Mapping[str, float]
) -> PersonLabels:
    """One person's labels by group, with standard deviations and confidences.  Clothes are read later."""
    all_sigma = np.full(LABEL_SIZE, _COLOUR_SIGMA, np.float32)
    all_sigma[:ENTRIES] = sigma
    of_entries = confidence_of_entries(all_sigma[_LEADING]).tolist()
    confidence = dict(zip(_GROUPS, of_entries, strict=True)) | dict(limbs)
    values, deviations = ({name: all_[group].copy() for name, group in _GROUPS.items()} for all_ in (labels, all_sigma))
    return PersonLabels(person.identity, person.score, values, deviations, confidence)


def confidence_of_entries(sigma: FloatArray) -> FloatArray:
    """Confidences (…,) of groups, 0…1, from the standard deviations (…, N) of their leading entries alone."""
    return np.asarray(1 - np.minimum(1, sigma[..., :_LEADING_ENTRIES].mean(axis=-1) / _UNKNOWN_SIGMA), np.float32)
