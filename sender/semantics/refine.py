"""Gauss-Newton refinement of the labels against perception's keypoints.

The CVAE predicts the labels, the keypoints head the 2D and 3D positions of the keypoints, each with its variance.  With
Gaussian errors, the most likely labels y minimise

    Σ_k |π(K_k(y)) − k_k|² / σ_k²  +  Σ_k |K_k(y) − J_k|² / s_k²  +  Σ_e (y_e − ŷ_e)² / σ_e²

where K(y) are the keypoints of the body that y decodes to and π is the crop's projection.  Visible joints move to their
pixels, others stay near the CVAE's prediction.  (SMPLify, Bogo et al. 2016, minimises the same sum without variances.)

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, KeypointKinematics
from sender.perception.network.output import PerceptionOutput
from sender.semantics.crop_labels import body_in_crop

# Step of the finite differences and largest Gauss-Newton step, both in standard deviations of an entry.
_DIFFERENCE_STEP = 0.01
_MAX_STEP = 1.0
# Least depth of a keypoint, metres, so that the projection stays finite.
_MIN_DEPTH_M = 0.05
# Chosen on photographs held back from training: with two steps, a floor of 0.03 and a weight of 1, 0.42 instead of 0.44
# of the keypoints there are published within 0.05 of the person's box; the 3D error on rendered people is the same.
_STEPS = 3
# Least standard deviations of a 2D keypoint, crop widths, and of a 3D keypoint, metres.
_PIXEL_FLOOR, _DEPTH_FLOOR_M = 0.02, 0.3
# Weight of the CVAE's labels, which depend on the same keypoints.
_PRIOR_WEIGHT = 0.2
# Added to the normal matrix; keeps steps small where nothing is known.
_DAMPING = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """The keypoints of one person that the labels are fitted to.

    Args:
        keypoints_2d: (17, 2) crop units.
        weight_2d: (17,) inverse standard deviations, times the probability that the keypoint is visible.
        keypoints_3d: (17, 3) metres from the pelvis.
        weight_3d: (17,) inverse standard deviations.
    """

    keypoints_2d: Tensor
    weight_2d: Tensor
    keypoints_3d: Tensor
    weight_3d: Tensor


def _target(output: PerceptionOutput, row: int) -> Target:
    """The keypoints of one crop, with the floors added to their variances."""
    visible = output.visible_logit[row].float().sigmoid()
    variance_2d = output.keypoints_sigma[row].float().square() + _PIXEL_FLOOR**2
    variance_3d = output.joints_log_variance[row].float().exp() + _DEPTH_FLOOR_M**2
    return Target(
        keypoints_2d=output.keypoints_2d[row].float(),
        weight_2d=visible / variance_2d.sqrt(),
        keypoints_3d=output.joints_3d[row].float(),
        weight_3d=1 / variance_3d.sqrt(),
    )


class Refiner:
    """Refines label entries against keypoints."""

    def __init__(self, space: LabelSpace, kinematics: KeypointKinematics) -> None:
        self._space = space
        self._kinematics = kinematics

    def refine(self, entries: Tensor, sigma: Tensor, output: PerceptionOutput, focal: Tensor) -> Tensor:
        """Entries (B, E), refined.

        Args:
            entries: (B, E) from the CVAE.
            sigma: (B, E) their standard deviations.
            output: perception's, B crops.
            focal: (B,) focal lengths in crop widths.
        """
        refined = entries
        for _ in range(_STEPS):
            refined = torch.stack(
                [
                    self._step(refined[row], entries[row], sigma[row], _target(output, row), focal[row])
                    for row in range(len(entries))
                ]
            )
        return refined

    def projected(self, bodies: BodyParameters, focal: Tensor) -> Tensor:
        """The keypoints (B, 17, 2) of bodies in their crops' camera spaces, crop units; `focal` as in `refine`."""
        keypoints, _ = self._kinematics(bodies)
        return _project(keypoints, focal[:, None, None])

    def _step(self, entries: Tensor, prior: Tensor, sigma: Tensor, target: Target, focal: Tensor) -> Tensor:
        """One Gauss-Newton step of one person's entries (E,), with the Jacobian from finite differences."""
        variants = torch.cat([entries[None], entries + _DIFFERENCE_STEP * torch.eye(len(entries))])
        residuals = self._residuals(variants, target, focal)
        jacobian = (residuals[1:] - residuals[0]).T / _DIFFERENCE_STEP
        precision = _PRIOR_WEIGHT / sigma.square()
        normal = jacobian.T @ jacobian + torch.diag(precision + _DAMPING)
        gradient = jacobian.T @ residuals[0] + precision * (entries - prior)
        step: Tensor = torch.linalg.solve(normal, gradient).clamp(-_MAX_STEP, _MAX_STEP)
        return entries - step

    def _residuals(self, variants: Tensor, target: Target, focal: Tensor) -> Tensor:
        """(N, 17·2 + 17·3) weighted residuals of N variants (N, E) of one person's entries."""
        bodies = body_in_crop(self._space, variants, focal.expand(len(variants)))
        keypoints, joints = self._kinematics(bodies)
        projected = _project(keypoints, focal)
        residuals_2d = (projected - target.keypoints_2d) * target.weight_2d[:, None]
        from_pelvis = keypoints - joints[:, :1]
        residuals_3d = (from_pelvis - target.keypoints_3d) * target.weight_3d[:, None]
        return torch.cat([residuals_2d.flatten(1), residuals_3d.flatten(1)], dim=1)


def _project(keypoints: Tensor, focal: Tensor) -> Tensor:
    """Points (…, 3) in a crop's camera space → crop units (…, 2)."""
    return focal * keypoints[..., :2] / keypoints[..., 2:].clamp_min(_MIN_DEPTH_M) + 0.5
