"""Estimates bodies: what is fitted to each frame, smoothed over the frames around, and lifted.

    perception's output ── pose head, refinement ── smoothing ── lifting ── heads ── bodies

Shapes: B people.

The semantics stage: perception's output for each person → semantic labels in the frame's camera space.

perception's output ─┬─ bodies, by the frames around ─┬─ labels
                     ├─ colours, confidences ─────────┤
                     └─ masks ─ build ────────────────┘
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, PersonLabels
from common.labels import LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from common.weights.devices import CPU, to_numpy
from sender.config import SmoothingConfig
from sender.people.view import PersonView
from sender.perception.crop import USUAL_STEP_S
from sender.perception.track import Memory, ObservedPerson
from sender.semantics.bodies import ENTRIES, Bodies, entries_in_crops
from sender.semantics.build import Build, TrunkWidths
from sender.semantics.confidence import KeypointConfidence, evidence
from sender.semantics.lifter import FRAMES, Lifter, RecentFrames, observations
from sender.semantics.refine import CropFits, HeadPlacement, in_frame
from sender.semantics.smoothing import LATER_S, FixedLagSmoother
from sender.semantics.visibility import RegionColours, SteadyConfidence, limb_log_odds


class BodyEstimator:
    """Estimates bodies from what perception saw, in this frame and in others.

    Args:
        strength: of `FixedLagSmoother`; 0 leaves each frame as it is.
        heads: moves bodies to where landmarks have their heads.
        lifter: rights what is smoothed.
    """

    def __init__(self, fits: CropFits, strength: float, heads: HeadPlacement, lifter: Lifter) -> None:
        self._fits, self._strength, self._heads, self._lifter = fits, strength, heads, lifter
        self._smoother = FixedLagSmoother(strength) if strength else None
        self._frames = RecentFrames()
        # Of the frames with people that were observed, oldest first.
        self._found: deque[Bodies] = deque()
        self._later = False

    @classmethod
    def load(cls, config: SmoothingConfig, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(CropFits.load(device), config.smoothing, HeadPlacement.load(), Lifter.load(device))

    def anew(self, strength: float) -> Self:
        """Another estimator by the same networks, which smooths so much (`--smoothing`)."""
        return type(self)(CropFits(self._fits.fitter), strength, self._heads, self._lifter)

    @property
    def smooths(self) -> bool:
        """Whether bodies are estimated from more than one frame."""
        return self._smoother is not None

    def wait(self, later: bool) -> float:
        """Says whether frames are estimated when later ones are known; returns by how much later: seconds.

        What was observed is forgotten.
        """
        self._found.clear()
        self._later = later
        if self._smoother is None:
            return 0.0
        self._smoother = FixedLagSmoother(self._strength, waits=later)
        return LATER_S if later else 0.0

    def forget(self) -> None:
        """Forgets what was observed."""
        self.wait(self._later)

    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> None:
        """Takes note of the next frame, in the order of time."""
        if self._smoother is None:
            return
        if not observed:
            self._frames.add({}, time_s)
            return
        fitted = self._fits.fitted(observed, camera)
        found = in_frame(fitted, observed, camera)
        labels = np.zeros((len(observed), LABEL_SIZE), np.float32)
        labels[:, :ENTRIES] = found.entries
        rows = zip(observed, labels, strict=True)
        smoothed = [self._smoother.add(each.person, time_s, row, each.view) for each, row in rows]
        self._found.append(found)
        frames = observations(observed, fitted, _in_crops(smoothed, observed, camera), camera, time_s)
        self._frames.add({each.person: frame for each, frame in zip(observed, frames, strict=True)}, time_s)

    def bodies(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float) -> Bodies:
        """Those of B ≥ 1 people in a frame that was noted, in the order of time."""
        if self._smoother is None:
            return self.alone(observed, camera)
        smoothed, found = [self._smoother.next(each.person) for each in observed], self._found.popleft()
        rows = zip(observed, _in_crops(smoothed, observed, camera), strict=True)
        windows = [self._frames.window(each.person, time_s, FRAMES).where_smoothed(row) for each, row in rows]
        entries, keypoints = self._lifter.lifted(windows, camera)
        return self._placed(replace(found, entries=entries, keypoints=keypoints), observed, camera)

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""
        return self._placed(self._fits.alone(observed, camera), observed, camera)

    def _placed(self, bodies: Bodies, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        return replace(bodies, entries=self._heads.placed(bodies.entries, observed, camera))


def _in_crops(labels: Sequence[FloatArray], observed: Sequence[ObservedPerson], camera: Camera) -> FloatArray:
    """(B, E) of labels (LABEL_SIZE,) in the frame."""
    return entries_in_crops(np.stack(labels)[:, :ENTRIES], [person.crop for person in observed], camera)


# Standard deviation of an entry over the training poses: a prediction with this one has no confidence.
_UNKNOWN_SIGMA = 1.0
_COLOUR_SIGMA = 0.3
_SHAPE, _APPEARANCE = group_slices()["shape"], group_slices()["appearance"]
# Clothes and heads are read later (`sender.attributes`, `sender.face`).
_READ_LATER = ("surface", "head_shape", *OPTIONAL_GROUPS)
_GROUPS = {name: group for name, group in group_slices().items() if name not in _READ_LATER}
# A group's confidence is that of its leading entries, (G, 3).
_LEADING_ENTRIES = 3
_LEADING = np.array([np.arange(_LEADING_ENTRIES) + group.start for group in _GROUPS.values()])


@dataclass(slots=True)
class _Known:
    """What is remembered of one person."""

    build: Build = field(default_factory=Build)
    colours: RegionColours = field(default_factory=RegionColours)
    confidence: SteadyConfidence = field(default_factory=SteadyConfidence)


class SemanticsStage:
    """Turns observations into labels; keeps each person's build, colours and confidences.

    Args:
        estimator: of bodies, which keeps what it needs of other frames.
        confidence: estimates that of limbs; that of other groups is of their label entries.
        widths: of the body, for builds.
    """

    def __init__(
        self, estimator: BodyEstimator, space: LabelSpace, confidence: KeypointConfidence, widths: TrunkWidths
    ) -> None:
        self._estimator, self._space, self._confidence, self._widths = estimator, space, confidence, widths
        self._people = Memory(_Known)

    @classmethod
    def load(cls, smoothing: SmoothingConfig | None = None, device: torch.device = CPU) -> Self:
        """With the shipped weights.

        Args:
            smoothing: how bodies are estimated; by default in the default way, and unsmoothed.

        Raises:
            WeightsError: weights are missing or of another version.
        """
        config = smoothing or SmoothingConfig(0.0)
        widths = TrunkWidths.of_body(BodyModel.load())
        return cls(BodyEstimator.load(config, device), LabelSpace.load(), KeypointConfidence.load(), widths)

    def anew(self, smoothing: SmoothingConfig) -> Self:
        """Another one by the same networks and calibration, which knows nobody."""
        estimator = self._estimator.anew(smoothing.smoothing)
        return type(self)(estimator, self._space, self._confidence, self._widths)

    @property
    def smooths(self) -> bool:
        """Whether labels are estimated from more than one frame."""
        return self._estimator.smooths

    def wait(self, later: bool) -> float:
        """Says whether frames are labelled when later ones were observed; returns by how much later: seconds."""
        return self._estimator.wait(later)

    def forget(self) -> None:
        """Forgets what was observed, and not labelled."""
        self._estimator.forget()

    @torch.inference_mode()
    def observe(self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float = 0.0) -> None:
        """Takes note of the next frame.

        Args:
            time_s: when it was captured, on the source's clock; where this does not advance, each frame stands alone.
        """
        self._estimator.observe(observed, camera, time_s)

    @torch.inference_mode()
    def label(
        self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float = 0.0
    ) -> tuple[PersonLabels, ...]:
        """Labels of the people in the next frame, in their order; arguments as of `observe`."""
        self.observe(observed, camera, time_s)
        return tuple(person.finished for person in self.label_observed(observed, camera, time_s))

    @torch.inference_mode()
    def label_observed(
        self, observed: Sequence[ObservedPerson], camera: Camera, time_s: float, step_s: float = USUAL_STEP_S
    ) -> list[PersonView]:
        """The same of a frame that was observed before, for readers; frames are labelled in their order, too.

        Args:
            step_s: since the frame before.
        """
        if not observed:
            return []
        bodies = self._estimator.bodies(observed, camera, time_s)
        limbs = self._confidence.limbs(evidence(observed, bodies.keypoints, bodies.sigma))
        made = []
        for row, person in enumerate(observed):
            known = self._people.of(person.person)
            build = known.build
            if build.is_due(time_s):
                ratios = self._widths.look(bodies.entries[row], person, bodies.keypoints[row], camera)
                if ratios is not None:
                    build.look(self._widths, ratios, time_s)
            labels = self._labels(person, known.colours, bodies.entries[row], step_s)
            labels[_SHAPE] += build.correction
            own = _person_view(person, labels, bodies.sigma[row], limbs[row])
            seen = limb_log_odds(person.output, bodies.keypoints[row], person.crop, camera)
            own.confidence = known.confidence.steady(time_s, own.confidence, seen)
            made.append(own)
        return made

    def _labels(self, person: ObservedPerson, colours: RegionColours, entries: FloatArray, step_s: float) -> FloatArray:
        """One person's labels (LABEL_SIZE,) with colours; from entries (E,) in the frame's camera space."""
        output = person.output
        known = colours.update(to_numpy(output.region_colours[0]), to_numpy(output.region_area[0]), step_s)
        labels = np.zeros(LABEL_SIZE, np.float32)
        labels[:ENTRIES] = entries
        labels[_APPEARANCE] = self._space.encode_colours(torch.from_numpy(known)[None])[0].numpy()
        return labels


def _person_view(
    person: ObservedPerson, labels: FloatArray, sigma: FloatArray, limbs: Mapping[str, float]
) -> PersonView:
    """One person's labels by group, with standard deviations and confidences.  Clothes are read later."""
    all_sigma = np.full(LABEL_SIZE, _COLOUR_SIGMA, np.float32)
    all_sigma[:ENTRIES] = sigma
    of_entries = confidence_of_entries(all_sigma[_LEADING]).tolist()
    confidence = dict(zip(_GROUPS, of_entries, strict=True)) | dict(limbs)
    values, deviations = ({name: all_[group].copy() for name, group in _GROUPS.items()} for all_ in (labels, all_sigma))
    return PersonView(person, values, deviations, confidence)


def confidence_of_entries(sigma: FloatArray) -> FloatArray:
    """Confidences (…,) of groups, 0…1, from the standard deviations (…, N) of their leading entries alone."""
    return np.asarray(1 - np.minimum(1, sigma[..., :_LEADING_ENTRIES].mean(axis=-1) / _UNKNOWN_SIGMA), np.float32)
