"""The semantics stage: perception's output for each person → semantic labels in the frame's camera space.

    perception's output ─┬─ pose head, refinement ─ smoothing ─ lifting ─ heads ─ bodies ─┬─ labels
                         ├─ colours, confidences ─────────────────────────────────────────┤
                         └─ masks ─ build ────────────────────────────────────────────────┘

A build is how wide the body is. Perception reads it from one crop: people are on average as wide as their masks, each
one a tenth wider or less wide.  Means over looks change `shape` to its most probable value where lengths stay.  Looks
are of upright people who face the camera, where no arm is beside the trunk.

A frame shows one side of a person: each region's colour is a running mean weighted by its visible area.  A region that
was never visible takes the colour of its mirror image, or of a neighbour that usually has the same colour; a garment of
which nothing is seen has what is worn with the others.

Shapes: B people, E label entries, L = 3 levels, R body regions.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import cv2
import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.anatomy import COCO_KEYPOINTS, REGION_INDEX, REGIONS, mirror_name
from common.body.label_space import LabelSpace, decode_root
from common.body.model import BodyModel
from common.body.triangles import vertex_adjacency
from common.frames import Camera, PersonLabels
from common.labels import LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from common.wears import usual_colour
from common.weights.devices import CPU, to_numpy
from sender.config import SmoothingConfig
from sender.people.view import PersonView
from sender.perception.crop import USUAL_STEP_S
from sender.perception.track import Memory, ObservedPerson
from sender.semantics.bodies import ENTRIES, Bodies, entries_in_crops
from sender.semantics.confidence import KeypointConfidence, SteadyConfidence, evidence, limb_log_odds
from sender.semantics.lifter import FRAMES, Lifter, RecentFrames, observations
from sender.semantics.refine import CropFits, in_frame, with_heads
from sender.semantics.smoothing import LATER_S, FixedLagSmoother

_ROOT, _SHAPE = (group_slices()[name] for name in ("root", "shape"))
# Levels between the middles of the hips, 0, and the shoulders, 1, and what clothes add to the width there, metres: the
# median of published bodies.
_LEVELS, _CLOTHES_M = (0.0, 0.2, 0.4), (0.05, 0.035, 0.035)
# Entries of `shape` that change: the others say more of lengths.  What perception leaves of them, standard deviations.
_WIDENING, _LEFT = slice(1, 4), 1.0
# By so much, as logarithm, lengths may change.
_LENGTHS = 0.04
# Cosines of the largest angles between body and camera, and between trunk and the picture's vertical.
_FACING, _UPRIGHT = 0.9, 0.95
_LEAST_TRUNK_PX = 60.0
# Half the thickness of an arm and a margin, metres; a hand is so much longer than its forearm.
_ARM_M, _HAND = 0.11, 0.35
# Looked for so far beyond the expected edge, and in steps of so much, metres.
_REACH_M, _STEP_M = 0.25, 0.002
# Standard deviation of one look at one level, logarithm of widths; looks count up to so many, because errors of later
# ones are the same.
_LOOK, _MOST_LOOKS = 0.07, 5.0
_LOOK_S = 0.2
# A mean of more looks forgets.
_MEMORY_LOOKS = 50.0
# A build that is sent stays until a width is off by more, as logarithm.
_VISIBLE = 0.02
# Of a standing person's thighs, heights over the length of the trunk.
_HANGING = 0.4
# At the picture's edge masks end, too.
_BORDER_PX = 4.0
_SHOULDERS, _HIPS, _ELBOWS, _WRISTS, _KNEES, _ANKLES = (
    [COCO_KEYPOINTS.index(f"{side}_{joint}") for side in ("left", "right")]
    for joint in ("shoulder", "hip", "elbow", "wrist", "knee", "ankle")
)


@dataclass(frozen=True, slots=True, eq=False)
class TrunkWidths:
    """Of the body at rest, linear in `shape`, which is exact to a hundredth.

    Args:
        mean: (L,) metres; `by_shape`: (10, L).
        change: (L, W) logarithms of widths by the W entries of `shape` that widen trunks.
        prior: (W, W) precision of these entries, about what perception says.
    """

    mean: Float64Array
    by_shape: Float64Array
    change: Float64Array
    prior: Float64Array

    @classmethod
    def of_body(cls, body: BodyModel) -> Self:
        unit = np.eye(_SHAPE.stop - _SHAPE.start, dtype=np.float32)
        rest = body.rest(torch.from_numpy(np.concatenate([0 * unit[:1], unit, -unit])))[0]
        trunk = torch.tensor([REGION_INDEX[name] for name in ("chest", "hips", "thigh.L", "thigh.R")])
        own = torch.isin(body.vertex_region, trunk).numpy()
        first, second = vertex_adjacency(body.skin_faces.numpy(), len(own)).nonzero()
        keypoints, kept = body.coco_keypoints(rest).numpy(), own[first] & own[second]
        edges = first[kept], second[kept]
        widths = np.stack([_widths(*each, edges) for each in zip(rest.numpy(), keypoints, strict=True)])
        joints = (keypoints[:, each].mean(axis=1) for each in (_SHOULDERS, _HIPS, _KNEES, _ANKLES))
        # Of trunk, thigh and shin.
        lengths = np.log(np.linalg.norm(np.diff(np.stack([*joints], axis=1), axis=1), axis=2))
        (wide, wide_less), (long, long_less) = (np.split(each[1:], 2) for each in (widths, lengths))
        by_shape = (wide - wide_less) / 2
        change, lengthening = (by_shape / widths[0])[_WIDENING].T, (long - long_less)[_WIDENING].T / 2
        prior = np.eye(change.shape[1]) / _LEFT**2 + lengthening.T @ lengthening / _LENGTHS**2
        return cls(widths[0], by_shape, change, prior)

    def correction(self, ratios: Float64Array, looks: Float64Array) -> FloatArray:
        """(10,) most probable change of `shape` by the mean logarithms of looks (L,), and how many they are."""
        weighted = self.change.T * (np.minimum(looks, _MOST_LOOKS) / _LOOK**2)
        corrected = np.zeros(len(self.by_shape), np.float32)
        corrected[_WIDENING] = np.linalg.solve(weighted @ self.change + self.prior, weighted @ ratios)
        return corrected

    def look(
        self, entries: FloatArray, person: ObservedPerson, keypoints: FloatArray, camera: Camera
    ) -> Float64Array | None:
        """(L,) logarithms of the mask's widths over those of somebody dressed who has this shape; NaN where unseen.

        None if none can be seen.

        Args:
            entries: (E,) the label entries in the frame.
            keypoints: (17, 2) of that body, pixels.
        """
        turn, place = (each[0].numpy() for each in decode_root(torch.from_numpy(entries[None, _ROOT])))
        hips, shoulders = (keypoints[joints].mean(axis=0) for joints in (_HIPS, _SHOULDERS))
        trunk = hips - shoulders
        length_px = float(np.hypot(*trunk))
        if turn[0, 0] < _FACING or length_px < _LEAST_TRUNK_PX or trunk[1] < _UPRIGHT * length_px:
            return None
        down = trunk / length_px
        px_per_m = camera.focal_px / float(place[2])
        axes = np.array([[down[1], -down[0]], down])
        expected = (self.mean + entries[_SHAPE] @ self.by_shape) * turn[0, 0] + _CLOTHES_M
        places = (keypoints - hips) @ axes.T / px_per_m
        stands = (keypoints[_KNEES, 1] - keypoints[_HIPS, 1] > _HANGING * length_px).all()
        mask, ratios = to_numpy(person.output.mask_logits[0]), np.full(len(_LEVELS), np.nan)
        for row, (level, width) in enumerate(zip(_LEVELS, expected, strict=True)):
            height_m = -level * length_px / px_per_m
            # Thighs of somebody who sits make the hips wider.
            if (level == 0.0 and not stands) or _has_arm_beside(places, height_m, width / 2 + _ARM_M):
                continue
            across = np.arange(-width / 2 - _REACH_M, width / 2 + _REACH_M, _STEP_M)
            line = hips + px_per_m * (np.column_stack([across, np.full_like(across, height_m)]) @ axes)
            x, y = (person.crop.to_units(line.astype(np.float32)) * len(mask) - 0.5).astype(np.float32).T
            logits = cv2.remap(mask, x[None], y[None], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)[0]
            seen = _run(np.asarray(logits), line, camera)
            if seen:
                ratios[row] = np.log(seen * _STEP_M / width)
        return None if np.isnan(ratios).all() else ratios


@dataclass(slots=True)
class Build:
    """What is known of one person's.

    Args:
        mean, looks: (L,) of the logarithms of looks, and how many these are.
        looked_s: when the last one was, on the source's clock.
        correction: (10,) of `shape`.
    """

    mean: Float64Array = field(default_factory=lambda: np.zeros(len(_LEVELS)))
    looks: Float64Array = field(default_factory=lambda: np.zeros(len(_LEVELS)))
    looked_s: float = -np.inf
    correction: FloatArray = field(default_factory=lambda: np.zeros(_SHAPE.stop - _SHAPE.start, np.float32))

    def is_due(self, time_s: float) -> bool:
        """Whether the next look tells anything new."""
        return not 0 <= time_s - self.looked_s < _LOOK_S

    def look(self, widths: TrunkWidths, ratios: Float64Array, time_s: float) -> None:
        """Takes the logarithms (L,) of a frame, NaN where a level is not seen."""
        seen, self.looked_s = ~np.isnan(ratios), time_s
        self.looks = np.where(seen, np.minimum(self.looks + 1, _MEMORY_LOOKS), self.looks)
        self.mean = np.where(seen, self.mean + (ratios - self.mean) / np.maximum(self.looks, 1), self.mean)
        correction = widths.correction(self.mean, self.looks)
        off = (correction - self.correction)[_WIDENING] @ widths.change.T
        if np.abs(off).max() > _VISIBLE:
            self.correction = correction


def _widths(rest: FloatArray, keypoints: FloatArray, edges: tuple[IntArray, IntArray]) -> Float64Array:
    """(L,) of a body (V, 3) at rest with COCO keypoints (17, 3), metres: from the first to the last edge at a level."""
    hips, shoulders = (keypoints[joints, 1].mean() for joints in (_HIPS, _SHOULDERS))
    first, second = (rest[ends] for ends in edges)
    widths = []
    for level in _LEVELS:
        below, above = (ends[:, 1] - (hips + level * (shoulders - hips)) for ends in (first, second))
        crossing = below * above < 0
        share = (below / np.where(crossing, below - above, 1))[crossing]
        across = first[crossing, 0] + share * (second - first)[crossing, 0]
        widths.append(np.ptp(across))
    return np.array(widths)


def _has_arm_beside(places: FloatArray, height: float, reach: float) -> bool:
    """Whether an arm, among places (17, 2) of keypoints, is within reach of the axis of the trunk at a height."""
    elbows, wrists = places[_ELBOWS], places[_WRISTS]
    # Upper arms, then forearms with their hands.
    start = np.concatenate([places[_SHOULDERS], elbows])
    end = np.concatenate([elbows, wrists + _HAND * (wrists - elbows)])
    share = np.clip((height - start[:, 1]) / np.where(end[:, 1] == start[:, 1], 1e-6, end[:, 1] - start[:, 1]), 0, 1)
    nearest = start + share[:, None] * (end - start)
    near = np.abs(nearest[:, 1] - height) < _ARM_M
    return bool((near & (np.abs(nearest[:, 0]) < reach)).any())


def _run(logits: FloatArray, line: FloatArray, camera: Camera) -> int:
    """How many places (N, 2) pixels around the middle one are on the mask; 0 if it does not end within the picture."""
    middle, off = len(logits) // 2, np.flatnonzero(logits <= 0)
    left, right = off[off < middle], off[off > middle]
    if logits[middle] <= 0 or not len(left) or not len(right):
        return 0
    ends = line[[left[-1], right[0]]]
    is_inside = ((ends > _BORDER_PX) & (ends < np.array([camera.width, camera.height]) - _BORDER_PX)).all()
    return int(right[0] - left[-1] - 1) if is_inside else 0


# Regions whose colour an unseen region takes after its mirror image, most likely first.
_SUBSTITUTES: dict[str, tuple[str, ...]] = {
    "scalp": ("face",),
    "face": ("hand.L", "hand.R"),
    "chest": ("upper_arm.L", "upper_arm.R"),
    "hips": ("thigh.L", "thigh.R"),
    "upper_arm": ("chest",),
    "forearm": ("upper_arm.L", "upper_arm.R", "chest"),
    "hand": ("face",),
    "thigh": ("shin.L", "shin.R"),
    "shin": ("thigh.L", "thigh.R"),
    "foot": (),
}
# Of other unseen regions the garment that covers them.
_GARMENTS = {
    **dict.fromkeys(("chest", "upper_arm", "forearm"), "top"),
    **dict.fromkeys(("hips", "thigh", "shin"), "bottom"),
    "foot": "shoes",
}
# Square root of the share of the crop from which a region is visible.
_MIN_AREA = 0.02
# Earlier frames weigh at most as much as the present one would in so many seconds, because light and clothing change.
_MEMORY_S = 2.0


def _stem(region: str) -> str:
    return region.removesuffix(".L").removesuffix(".R")


# Of each region those whose colour it takes if it was not seen, most likely first, and the garment that covers it.
_CANDIDATES = [
    [REGION_INDEX[name] for name in (mirror_name(region), *_SUBSTITUTES[_stem(region)])] for region in REGIONS
]
_GARMENT = [_GARMENTS.get(_stem(region)) for region in REGIONS]


@dataclass(slots=True)
class RegionColours:
    """One person's colours.

    Args:
        colours: (R, 3) running means, 0…1.
        weights: (R,) sums of visible areas, shares of the crop, times seconds, with an upper limit.
    """

    colours: FloatArray = field(default_factory=lambda: np.full((len(REGIONS), 3), 0.5, np.float32))
    weights: FloatArray = field(default_factory=lambda: np.zeros(len(REGIONS), np.float32))

    def update(self, colours: FloatArray, areas: FloatArray, step_s: float = USUAL_STEP_S) -> FloatArray:
        """Adds one frame and returns the colours (R, 3), completed for unseen regions.

        Args:
            colours: (R, 3) mean visible colour of each region in this frame.
            areas: (R,) square root of the share of the crop that it covers.
            step_s: since the last frame.
        """
        area = np.where(areas > _MIN_AREA, areas * areas, np.float32(0))
        weight = area * np.float32(min(step_s, _MEMORY_S))
        total = self.weights + weight
        share = weight / np.maximum(total, np.float32(1e-12))
        self.colours = self.colours + share[:, None] * (colours - self.colours)
        limit = _MEMORY_S * area.max()
        self.weights = np.minimum(total, limit) if limit > 0 else total
        return self._completed()

    def _completed(self) -> FloatArray:
        completed, seen = self.colours.copy(), (self.weights > 0).tolist()
        unknown = []
        for index in (index for index, known in enumerate(seen) if not known):
            substitute = next((other for other in _CANDIDATES[index] if seen[other]), None)
            if substitute is None:
                unknown.append(index)
            else:
                completed[index] = self.colours[substitute]
        for index in unknown:
            garment = _GARMENT[index]
            if garment is not None:
                completed[index] = usual_colour(garment, completed)
        return completed


class BodyEstimator:
    """Estimates bodies from what perception saw, in this frame and in others.

    Args:
        strength: of `FixedLagSmoother`; 0 leaves each frame as it is.
        lifter: rights what is smoothed.
    """

    def __init__(self, fits: CropFits, strength: float, lifter: Lifter) -> None:
        self._fits, self._strength, self._lifter = fits, strength, lifter
        self._smoother = FixedLagSmoother(strength) if strength else None
        self._frames = RecentFrames()
        # Of the frames with people that were observed, oldest first.
        self._found: deque[Bodies] = deque()
        self._later = False

    @classmethod
    def load(cls, config: SmoothingConfig, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(CropFits.load(device), config.smoothing, Lifter.load(device))

    def anew(self, strength: float) -> Self:
        """Another estimator by the same networks, which smooths so much (`--smoothing`)."""
        return type(self)(CropFits(self._fits.fitter), strength, self._lifter)

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
        windows = [self._frames.window(each.person, time_s, FRAMES, row) for each, row in rows]
        entries, keypoints = self._lifter.lifted(windows, camera)
        return replace(found, entries=with_heads(entries, observed, camera), keypoints=keypoints)

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""
        bodies = self._fits.alone(observed, camera)
        return replace(bodies, entries=with_heads(bodies.entries, observed, camera))


def _in_crops(labels: Sequence[FloatArray], observed: Sequence[ObservedPerson], camera: Camera) -> FloatArray:
    """(B, E) of labels (LABEL_SIZE,) in the frame."""
    return entries_in_crops(np.stack(labels)[:, :ENTRIES], [person.crop for person in observed], camera)


# Standard deviation of an entry over the training poses: a prediction with this one has no confidence.
_UNKNOWN_SIGMA = 1.0
_COLOUR_SIGMA = 0.3
_APPEARANCE = group_slices()["appearance"]
# Of these semantics says nothing: heads, faces and fingers are read later (`sender.face`, `sender.hands`), `surface`
# by nobody.
_NOT_READ = ("surface", "head_shape", *OPTIONAL_GROUPS)
_GROUPS = {name: group for name, group in group_slices().items() if name not in _NOT_READ}
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
            output = person.output
            colours = known.colours.update(to_numpy(output.region_colours[0]), to_numpy(output.region_area[0]), step_s)
            labels, sigma = np.zeros(LABEL_SIZE, np.float32), np.full(LABEL_SIZE, _COLOUR_SIGMA, np.float32)
            labels[:ENTRIES], sigma[:ENTRIES] = bodies.entries[row], bodies.sigma[row]
            labels[_APPEARANCE] = self._space.encode_colours(torch.from_numpy(colours)[None])[0].numpy()
            labels[_SHAPE] += build.correction
            known_share = 1 - np.minimum(1, sigma[_LEADING].mean(axis=1) / _UNKNOWN_SIGMA)
            confidence = dict(zip(_GROUPS, known_share.tolist(), strict=True)) | limbs[row]
            seen = limb_log_odds(output, bodies.keypoints[row], person.crop, camera)
            values, deviations = (
                {name: each[group].copy() for name, group in _GROUPS.items()} for each in (labels, sigma)
            )
            steady = known.confidence.steady(time_s, confidence, seen)
            made.append(PersonView(person, values, deviations, steady))
        return made
