"""Gauss-Newton refinement of the labels against perception's keypoints.

The pose head predicts the labels (`sender.semantics.predictor`), the keypoints head the 2D and 3D positions of the
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

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit

from common.arrays import FloatArray
from common.weights.devices import to_numpy
from sender.face.head_pose import FRONT, HEAD_KEYPOINTS
from sender.perception.output import PerceptionOutput
from sender.semantics.crop_labels import PELVIS, entries_of_pelvis, pelvis_in_crop
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.namespace import Array, namespace, solved

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
