"""Fits labels to perception's output: predicted ones, refined by Gauss-Newton against the keypoints.

The pose head predicts the labels (`PoseHead`), the keypoints head the 2D and 3D positions of the
keypoints, each with its variance.  With Gaussian errors, the most likely labels y minimise

    Σ_k |π(K_k(y)) − k_k|² / σ_k²  +  Σ_k |K_k(y) − J_k|² / s_k²  +  Σ_e (y_e − ŷ_e)² / σ_e²
        +  h l(y)² / σ_l²  +  s Σ_legs b(y)² / σ_b²

where K(y) are the keypoints of the body that y decodes to and π is the crop's projection.  Visible joints move to their
pixels, others stay near the prediction.  l(y) is how much nearer to the camera the hips are than the shoulders, and h
the probability that both hips are hidden: of a head and shoulders the pose head predicts the mean of all trunks, bent
forward by 11° where people sit or stand upright.  b(y) is how much nearer to the camera a knee is than the middle of
hip and ankle, and s how much both legs look straight in the picture, which does not show whether a leg is bent towards
the camera: the pose head predicts the mean of both, and standing people's knees would be bent by 21° instead of 8°.
(SMPLify, Bogo et al. 2016, minimises the first sums without variances.)

On a CPU, OpenVINO runs the predictor, and NumPy the refinement: 1 ms a person.  On a GPU both are one graph, so that
the people of all cameras are fitted together and the interpreter is free meanwhile.  Standard deviations of the
predicted entries are log σ = W c + b, of what perception says of its certainty, c.

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.frames import Camera
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from sender.face.head import FRONT, HEAD_KEYPOINTS
from sender.perception.crop import ray_rotation, to_crop
from sender.perception.perception_network import CERTAINTIES, FEATURE_SIZE, PerceptionOutput, certainty_of_features
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import (
    CROSS,
    ENTRIES,
    PELVIS,
    Array,
    Bodies,
    KeypointJacobian,
    entries_in_frame,
    entries_of_pelvis,
    namespace,
    orientation,
    pelvis_in_crop,
    placed,
    pose_entries,
    solved,
    together,
)

# Largest Gauss-Newton step, standard deviations of an entry.
_MAX_STEP = 1.0
# Least depth of a keypoint, metres, so that the projection stays finite.
_MIN_DEPTH_M = 0.05
# Chosen on photographs held back from training, as are the floors and the weight below.
_STEPS = 3
# From where the last frame's steps led, the sum above gets as low with one step less.
_FOLLOWING_STEPS = 2
# Least standard deviation of a 2D keypoint, crop widths.
_PIXEL_FLOOR = 0.02
# The same of a 3D keypoint: what is seen in the picture counts more.
_DEPTH_FLOOR_M = 0.6
# Weight of the predicted labels, which depend on the same keypoints.
_PRIOR_WEIGHT = 0.1
# Standard deviation σ_l of the hips' distance before the shoulders where nobody sees the hips.  Of 53 upright people of
# the training photographs, cut to head and shoulders, 96 % stand within 15° of upright instead of 79 %, and of 163 the
# hips are 0.44 widths of the shoulders off instead of 0.46.  Half of it would also straighten those who lean.
_UPRIGHT_M = 0.2
# Standard deviation σ_b of the knees' distance from the middles of hips and ankles where legs look straight: in the
# picture they are longer than so many trunks, and no more than so much shorter than their thighs and shanks.
_STRAIGHT_M, _LONG, _LONG_WITHIN, _BENT = 0.03, 1.35, 0.07, 0.02
_TINY = 1e-6
# Standard deviation of a head that landmarks place: how far other heads are from the mean one.
_HEAD_M = 0.005
_HEAD = slice(0, HEAD_KEYPOINTS)
_SHOULDERS, _HIPS, _KNEES, _ANKLES = (slice(first, first + 2) for first in (5, 11, 13, 15))
# Added to the normal matrix; keeps steps small where nothing is known.
_DAMPING = 0.1


@dataclass(frozen=True, slots=True)
class Targets:
    """The keypoints that the labels are fitted to, and their weights: inverse standard deviations.

    Args:
        keypoints_2d, weight_2d: (B, K, 2) crop units, (B, K, 1) times the probability that the keypoint is visible.
        keypoints_3d, weight_3d: (B, K, 3) metres from the pelvis, (B, K, 1).
        weight_upright: (B, 1, 1) of hips that are as far away as the shoulders.
        weight_straight: (B, 1, 1) of knees that are as far away as the middles of hips and ankles.
        head, weight_head: (B, 5, 3) places of nose, eyes and ears in the crop's camera space, metres, (B, 1, 1); the
            weight is 0 where nothing but keypoints tells them.
        focal: (B, 1, 1) focal lengths in crop widths.
    """

    keypoints_2d: Array
    weight_2d: Array
    keypoints_3d: Array
    weight_3d: Array
    weight_upright: Array
    weight_straight: Array
    head: Array
    weight_head: Array
    focal: Array

    @classmethod
    def from_output(
        cls, output: PerceptionOutput, focal: FloatArray, heads: Sequence[FloatArray | None] | None = None
    ) -> Self:
        """The keypoints of crops as arrays, with the floors added to their variances.

        Args:
            focal: (B,) in crop widths.
            heads: (5, 3) as in `head` of those who are seen near; None for the others, or if there are only such.
        """
        sigma, visible, log_variance = map(
            to_numpy, (output.keypoints_sigma, output.visible_logit.sigmoid(), output.joints_log_variance)
        )
        keypoints, joints = to_numpy(output.keypoints_2d), to_numpy(output.joints_3d)
        return cls.of(keypoints, sigma, visible, joints, log_variance, focal, heads)

    @classmethod
    def of(
        cls,
        keypoints: FloatArray,
        sigma: FloatArray,
        visible: FloatArray,
        joints: FloatArray,
        log_variance: FloatArray,
        focal: FloatArray,
        heads: Sequence[FloatArray | None] | None = None,
    ) -> Self:
        """The same of arrays: keypoints (B, K, 2), crop units, with σ (B, K) and probabilities (B, K) that they are
        visible; joints (B, K, 3), metres, with logs of their variances (B, K)."""
        heads = [None] * len(focal) if heads is None else heads
        sigma, visible, log_variance = (column[..., None] for column in (sigma, visible, log_variance))
        return cls(
            keypoints_2d=keypoints,
            weight_2d=visible / np.sqrt(sigma**2 + _PIXEL_FLOOR**2),
            keypoints_3d=joints,
            weight_3d=1 / np.sqrt(np.exp(log_variance) + _DEPTH_FLOOR_M**2),
            weight_upright=(1 - visible[:, _HIPS].max(axis=1, keepdims=True)) / np.float32(_UPRIGHT_M),
            weight_straight=_straight(keypoints, visible) / np.float32(_STRAIGHT_M),
            head=np.stack([np.ones((_HEAD.stop, 3), np.float32) if head is None else head for head in heads]),
            weight_head=np.array([[[0.0 if head is None else 1 / _HEAD_M]] for head in heads], np.float32),
            focal=focal[:, None, None],
        )


class Refiner:
    """Refines label entries against keypoints.

    Args:
        keypoints: of arrays or tensors, as the labels are.
    """

    def __init__(self, keypoints: KeypointJacobian) -> None:
        self.keypoints = keypoints

    @classmethod
    def load(cls) -> Self:
        """For the body and the labels of the package; raises WeightsError if a file of them is missing or damaged."""
        return cls(KeypointJacobian.load())

    def refine(self, entries: Array, sigma: Array, targets: Targets, correction: Array | None = None) -> Array:
        """Entries (B, E), refined.

        Args:
            entries: (B, E) as predicted.
            sigma: (B, E) their standard deviations.
            correction: (B, E) what refining the same people added in the last frame: where the search begins.
        """
        refined = self._placed(entries if correction is None else entries + correction, targets)
        for _ in range(_STEPS if correction is None else _FOLLOWING_STEPS):
            refined = self._step(refined, entries, sigma, targets)
        return refined

    def _placed(self, entries: Array, targets: Targets) -> Array:
        """Entries (B, E) of bodies that are moved to where their heads are known to be."""
        focal = targets.focal[:, 0]
        pelvis = (targets.head - self.keypoints.keypoints(entries)[:, _HEAD])[:, :FRONT].mean(1)
        placed = namespace(entries).concatenate(
            (entries[:, : PELVIS.start], entries_of_pelvis(pelvis, focal), entries[:, PELVIS.stop :]), 1
        )
        return namespace(entries).where(targets.weight_head[:, 0] > 0, placed, entries)

    def projected(self, entries: Array, focal: Array) -> Array:
        """The keypoints (B, K, 2) of the bodies that entries (B, E) describe, crop units; `focal` as in `Targets`."""
        keypoints = self.keypoints.keypoints(entries) + pelvis_in_crop(entries, focal[:, 0])[:, None]
        return focal * keypoints[..., :2] / keypoints[..., 2:].clip(_MIN_DEPTH_M) + 0.5

    def _step(self, entries: Array, prior: Array, sigma: Array, targets: Targets) -> Array:
        """One Gauss-Newton step."""
        residuals, jacobian = self._residuals(entries, targets)
        precision = _PRIOR_WEIGHT / (sigma * sigma)
        transposed = jacobian.swapaxes(1, 2)
        normal = transposed @ jacobian + self.keypoints.unit_entries * (precision + _DAMPING)[:, None]
        gradient = transposed @ residuals + (precision * (entries - prior))[..., None]
        return entries - solved(normal, gradient)[..., 0].clip(-_MAX_STEP, _MAX_STEP)

    def _residuals(self, entries: Array, targets: Targets) -> tuple[Array, Array]:
        """(B, R, 1) weighted residuals, and their derivatives (B, R, E)."""
        xp, focal = namespace(entries), targets.focal
        from_pelvis, pelvis, by_entries = self.keypoints.derivatives(entries, focal[:, 0])
        keypoints = from_pelvis + pelvis[:, None]
        depth = keypoints[..., 2:].clip(_MIN_DEPTH_M)
        along = keypoints[..., :2] / depth
        of_2d = (focal * along + 0.5 - targets.keypoints_2d) * targets.weight_2d
        of_3d = (from_pelvis - targets.keypoints_3d) * targets.weight_3d
        nearer = along * (keypoints[..., 2:] > _MIN_DEPTH_M)
        scale = (focal * targets.weight_2d / depth)[..., None]
        derivatives = (
            scale * (by_entries[..., :2, :] - nearer[..., None] * by_entries[..., 2:, :]),
            targets.weight_3d[..., None] * self.keypoints.not_pelvis * by_entries,
        )
        of_keypoints = xp.concatenate((of_2d, of_3d), 2).reshape(len(entries), -1, 1)
        by_keypoints = xp.concatenate(derivatives, 2).reshape(len(entries), of_keypoints.shape[1], -1)
        lean = targets.weight_upright * _lean(from_pelvis)[:, None, None]
        by_lean = targets.weight_upright * _lean(by_entries)[:, None]
        bend = targets.weight_straight * _bend(from_pelvis)[..., None]
        by_bend = targets.weight_straight * _bend(by_entries)
        head = (targets.weight_head * (keypoints[:, _HEAD] - targets.head)).reshape(len(entries), -1, 1)
        by_head = (targets.weight_head[..., None] * by_entries[:, _HEAD]).reshape(len(entries), head.shape[1], -1)
        residuals = xp.concatenate((of_keypoints, lean, bend, head), 1)
        return residuals, xp.concatenate((by_keypoints, by_lean, by_bend, by_head), 1)


def _lean(places: Array) -> Array:
    """Coordinates (B, K, 3, …) → (B, …): how much farther along z the shoulders are than the hips, on average."""
    depth = places[:, :, 2]
    return depth[:, _SHOULDERS].mean(1) - depth[:, _HIPS].mean(1)


def _bend(places: Array) -> Array:
    """Coordinates (B, K, 3, …) → (B, 2, …): how much farther along z knees are than the middles of hips and ankles."""
    depth = places[:, :, 2]
    return depth[:, _KNEES] - (depth[:, _HIPS] + depth[:, _ANKLES]) / 2


def _straight(keypoints: FloatArray, visible: FloatArray) -> FloatArray:
    """(B, 1, 1) how much both legs of keypoints (B, K, 2) look as if they were straight, 0…1."""
    hips, knees, ankles = (keypoints[:, part] for part in (_HIPS, _KNEES, _ANKLES))
    thighs, shanks, legs = (np.linalg.norm(each, axis=-1) for each in (knees - hips, ankles - knees, ankles - hips))
    trunk = np.linalg.norm((keypoints[:, _SHOULDERS] - hips).mean(axis=1), axis=-1)
    long = legs.min(axis=1) / np.maximum(trunk, _TINY)
    bent = (1 - legs / np.maximum(thighs + shanks, _TINY)).max(axis=1)
    seen = visible[:, _HIPS.start : _ANKLES.stop, 0].min(axis=1)
    looks = seen * expit((long - _LONG) / _LONG_WITHIN) * np.exp(-((bent / _BENT) ** 2))
    return np.asarray(looks, np.float32)[:, None, None]


@dataclass(frozen=True, slots=True)
class FittedEntries:
    """Entries before and after the refinement and standard deviations, (B, E); keypoints (B, K, 2), crop units."""

    predicted: FloatArray
    sigma: FloatArray
    refined: FloatArray
    keypoints: FloatArray


Fitter = Callable[[Tensor, Targets, FloatArray | None], FittedEntries]
"""Fits entries to features (B, …) and targets; the third is the `correction` of `Refiner.refine`."""


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
        predictor: features → entries and their standard deviations.
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


ERRORS_NAME: Final = "pose_errors"
ERRORS_KIND: Final = "pose-errors-linear-1"
# Of log σ, σ in deviations of an entry over people.
_LOG_SIGMA_RANGE: Final = (-3.0, 1.0)


@dataclass(frozen=True, slots=True)
class PoseErrorsConfig:
    """Size of the linear model, as the manifest records it."""

    certainties: int = CERTAINTIES


class PoseErrors(nn.Linear):
    """Certainties (B, C) → log σ (B, E) of the pose head's entries."""

    def __init__(self, config: PoseErrorsConfig) -> None:
        super().__init__(config.certainties, ENTRIES)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> "PoseErrors":
        """The shipped one; raises WeightsError where its weights are missing, damaged or of another version."""
        return load_recorded(ERRORS_NAME, ERRORS_KIND, PoseErrorsConfig, cls, directory)


class PoseHead(nn.Module):
    """Perception's features (B, …) → the pose head's entries and their standard deviations, (B, E)."""

    def __init__(self, errors: PoseErrors, space: LabelSpace) -> None:
        super().__init__()
        self.errors, self.space = errors, space

    @classmethod
    def load(cls) -> Self:
        """With the weights of the package; raises WeightsError where they are missing or of another version."""
        head = cls(PoseErrors.load(), LabelSpace.load())
        head.eval()
        return head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        log_sigma: Tensor = self.errors(certainty_of_features(features))
        return pose_entries(self.space, features), log_sigma.clamp(*_LOG_SIGMA_RANGE).exp()


_LEAST_DEPTH_M: Final = 0.1


def with_heads(entries: FloatArray, observed: Sequence[ObservedPerson], camera: Camera) -> FloatArray:
    """Label entries (B, E) in the frame's camera space, of bodies that are moved to where landmarks have their heads.

    Of a close-up, the pelvis is outside the picture, and errors of trunk and neck move the head, which alone is seen.
    """
    moved = entries.copy()
    for row, person in enumerate(observed):
        if person.head is not None:
            own = entries[row : row + 1]
            away = person.head.in_camera(camera)[:FRONT] - KeypointJacobian.load().keypoints(own)[0, :FRONT]
            pelvis = away.mean(axis=0, keepdims=True)
            pelvis[:, 2] = pelvis[:, 2].clip(_LEAST_DEPTH_M)
            moved[row] = placed(own, orientation(own, CROSS), pelvis)[0]
    return moved


def head_in_crop(person: ObservedPerson, camera: Camera) -> FloatArray | None:
    """(5, 3) nose, eyes and ears that landmarks place, in the crop's camera space, metres; None if none do."""
    if person.head is None:
        return None
    places = person.head.in_camera(camera)
    middle = places.mean(axis=0)
    turn, position = to_crop(np.eye(3, dtype=np.float32), middle, ray_rotation(person.crop, camera))
    return np.asarray(position + (places - middle) @ turn.T, np.float32)


class CropFits:
    """Fits bodies to each frame, from where they were fitted to the last one."""

    def __init__(self, fitter: Fitter) -> None:
        self.fitter = fitter
        # Of the last frame.
        self._corrections: dict[TrackedPerson, FloatArray] = {}

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing, damaged or of another version."""
        return cls(_load_fitter(device))

    def fitted(self, observed: Sequence[ObservedPerson], camera: Camera) -> FittedEntries:
        """Those of B ≥ 1 people in the next frame, in their crops."""
        last = self._corrections
        known = [last[each.person] for each in observed if each.person in last]
        # Where all people were in the frame before, from there on.
        fitted = self._fit(observed, camera, np.stack(known) if len(known) == len(observed) else None)
        changes = zip(observed, fitted.refined - fitted.predicted, strict=True)
        self._corrections = {each.person: change for each, change in changes}
        return fitted

    def alone(self, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
        """Those of B ≥ 1 people of whom there is no other frame."""
        return in_frame(self._fit(observed, camera, None), observed, camera)

    def _fit(self, observed: Sequence[ObservedPerson], camera: Camera, correction: FloatArray | None) -> FittedEntries:
        output = together(observed)
        focal = np.array([camera.focal_px / person.crop.side for person in observed], np.float32)
        heads = [head_in_crop(person, camera) for person in observed]
        return self.fitter(output.features(), Targets.from_output(output, focal, heads), correction)


def in_frame(fitted: FittedEntries, observed: Sequence[ObservedPerson], camera: Camera) -> Bodies:
    """What is fitted to people in their crops, in the frame."""
    entries = entries_in_frame(fitted.refined, [person.crop for person in observed], camera)
    pixels = [person.crop.to_pixels(each) for person, each in zip(observed, fitted.keypoints, strict=True)]
    return Bodies(entries, fitted.sigma, np.stack(pixels))


def _load_fitter(device: torch.device) -> Fitter:
    predictor, refiner = PoseHead.load(), Refiner.load()
    name, precision = ERRORS_NAME, find_entry(ERRORS_NAME).precision
    if device.type != "cpu":
        both = (FittingNetwork(predictor, refiner.keypoints, follows=follows) for follows in (False, True))
        anew, following = (in_use(each, each.example(), name, precision, device) for each in both)
        # NumPy is faster than a thousand launches.
        if anew.is_one_graph and following.is_one_graph:
            return FitterOnGpu(anew, following)
    example = (torch.zeros(1, FEATURE_SIZE),)
    return FitterOnHost(in_use(predictor, example, name, precision, device), refiner)
