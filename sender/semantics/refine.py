"""Gauss-Newton refinement of the labels against perception's keypoints.

The CVAE predicts the labels, the keypoints head the 2D and 3D positions of the keypoints, each with its variance.  With
Gaussian errors, the most likely labels y minimise

    Σ_k |π(K_k(y)) − k_k|² / σ_k²  +  Σ_k |K_k(y) − J_k|² / s_k²  +  Σ_e (y_e − ŷ_e)² / σ_e²

where K(y) are the keypoints of the body that y decodes to and π is the crop's projection.  Visible joints move to their
pixels, others stay near the CVAE's prediction.  (SMPLify, Bogo et al. 2016, minimises the same sum without variances.)

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, KeypointKinematics
from sender.perception.network.output import PerceptionOutput
from sender.semantics.keypoint_jacobian import KeypointJacobian

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
# Weight of the CVAE's labels, which depend on the same keypoints.
_PRIOR_WEIGHT = 0.1
# Added to the normal matrix; keeps steps small where nothing is known.
_DAMPING = 0.1


@dataclass(frozen=True, slots=True)
class _Targets:
    """The keypoints that the labels are fitted to, and their weights: inverse standard deviations.

    Args:
        keypoints_2d, weight_2d: (B, K, 2) crop units, (B, K) times the probability that the keypoint is visible.
        keypoints_3d, weight_3d: (B, K, 3) metres from the pelvis, (B, K).
    """

    keypoints_2d: Tensor
    weight_2d: Tensor
    keypoints_3d: Tensor
    weight_3d: Tensor

    @classmethod
    def from_output(cls, output: PerceptionOutput) -> Self:
        """The keypoints of crops, with the floors added to their variances."""
        variance_2d = output.keypoints_sigma.float().square() + _PIXEL_FLOOR**2
        variance_3d = output.joints_log_variance.float().exp() + _DEPTH_FLOOR_M**2
        return cls(
            keypoints_2d=output.keypoints_2d.float(),
            weight_2d=output.visible_logit.float().sigmoid() / variance_2d.sqrt(),
            keypoints_3d=output.joints_3d.float(),
            weight_3d=1 / variance_3d.sqrt(),
        )


class Refiner:
    """Refines label entries against keypoints."""

    def __init__(self, space: LabelSpace, kinematics: KeypointKinematics) -> None:
        self._kinematics = kinematics
        self._keypoints = KeypointJacobian(space, kinematics)

    def refine(
        self,
        entries: Tensor,
        sigma: Tensor,
        output: PerceptionOutput,
        focal: Tensor,
        correction: Tensor | None = None,
    ) -> Tensor:
        """Entries (B, E), refined.

        Args:
            entries: (B, E) from the CVAE.
            sigma: (B, E) their standard deviations.
            output: perception's, B crops.
            focal: (B,) focal lengths in crop widths.
            correction: (B, E) what refining the same people added in the last frame: where the search begins.
        """
        targets = _Targets.from_output(output)
        refined = entries if correction is None else entries + correction
        for _ in range(_STEPS if correction is None else _FOLLOWING_STEPS):
            refined = self._step(refined, entries, sigma, targets, focal)
        return refined

    def projected(self, bodies: BodyParameters, focal: Tensor) -> Tensor:
        """The keypoints (B, 17, 2) of bodies in their crops' camera spaces, crop units; `focal` as in `refine`."""
        keypoints, _ = self._kinematics(bodies)
        return _project(keypoints, focal[:, None, None])

    def _step(self, entries: Tensor, prior: Tensor, sigma: Tensor, targets: _Targets, focal: Tensor) -> Tensor:
        """One Gauss-Newton step."""
        residuals, jacobian = self._residuals(entries, targets, focal)
        precision = _PRIOR_WEIGHT / sigma.square()
        normal = jacobian.transpose(1, 2) @ jacobian + torch.diag_embed(precision + _DAMPING)
        gradient = (jacobian.transpose(1, 2) @ residuals[..., None])[..., 0] + precision * (entries - prior)
        step: Tensor = torch.linalg.solve(normal, gradient).clamp(-_MAX_STEP, _MAX_STEP)
        return entries - step

    def _residuals(self, entries: Tensor, targets: _Targets, focal: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K·2 + K·3) weighted residuals, and their derivatives (B, K·2 + K·3, E)."""
        found = self._keypoints(entries, focal)
        by_entries = found.from_pelvis + found.pelvis_by_entries[:, None]
        scale = focal[:, None, None]
        depth = found.keypoints[..., 2:].clamp_min(_MIN_DEPTH_M)
        along = found.keypoints[..., :2] / depth
        nearer = by_entries[..., 2:, :] * (found.keypoints[..., 2:] > _MIN_DEPTH_M)[..., None]
        projected_by_entries = (scale / depth)[..., None] * (by_entries[..., :2, :] - along[..., None] * nearer)
        of_2d = _project(found.keypoints, scale) - targets.keypoints_2d
        of_3d = found.keypoints - found.pelvis[:, None] - targets.keypoints_3d
        weight_2d, weight_3d = targets.weight_2d[..., None], targets.weight_3d[..., None]
        residuals = [(of_2d * weight_2d).flatten(1), (of_3d * weight_3d).flatten(1)]
        derivatives = [projected_by_entries * weight_2d[..., None], found.from_pelvis * weight_3d[..., None]]
        return torch.cat(residuals, 1), torch.cat([each.flatten(1, 2) for each in derivatives], 1)


def _project(keypoints: Tensor, focal: Tensor) -> Tensor:
    """Points (…, 3) in a crop's camera space → crop units (…, 2)."""
    return focal * keypoints[..., :2] / keypoints[..., 2:].clamp_min(_MIN_DEPTH_M) + 0.5
