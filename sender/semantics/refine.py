"""Fits the labels to what perception saw: a few Gauss-Newton steps on the sum of everything that is known.

The CVAE says what pose is likely and how sure that is; the keypoints head says where each joint is, in the picture
and in depth, and how sure that is.  Each is a Gaussian, so the most likely labels are the least squares of

    Σ_k |π(K_k(y)) − k_k|² / σ_k²  +  Σ_k |K_k(y) − J_k|² / s_k²  +  Σ_e (y_e − ŷ_e)² / σ_e²

with K(y) the keypoints of the body that labels y decode to and π the crop's projection.  Seen joints snap to their
pixels, unseen ones stay where the prior has them.  (SMPLify, Bogo et al. 2016, minimises the same sum without the σ.)

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import KeypointKinematics
from sender.perception.network.output import PerceptionOutput
from sender.semantics.crop_labels import body_in_crop

_PROBE = 0.01


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """How far the fit trusts whom.

    Args:
        steps: Gauss-Newton steps; 0 leaves the labels as the CVAE gave them.
        pixel_floor: least spread of a keypoint, in crop widths.
        depth_floor_m: least spread of a joint in space, metres.
        prior_weight: weight of the CVAE's labels, which have seen the same keypoints.
        damping: keeps a step small where nothing is known.
    """

    steps: int = 2
    pixel_floor: float = 0.03
    depth_floor_m: float = 0.3
    prior_weight: float = 1.0
    damping: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.pixel_floor, self.depth_floor_m, self.prior_weight, self.damping) <= 0:
            raise ValueError("steps must not be negative, floors, weight and damping must be positive")


class Refiner:
    """Refines entries against keypoints.

    Args:
        space: what the entries mean.
        kinematics: from bodies to keypoints.
        config: weights and steps.
    """

    def __init__(self, space: LabelSpace, kinematics: KeypointKinematics, config: RefineConfig | None = None) -> None:
        self._space = space
        self._kinematics = kinematics
        self.config = config or RefineConfig()

    def refine(self, entries: Tensor, sigma: Tensor, output: PerceptionOutput, focal: Tensor) -> Tensor:
        """Entries (B, E) that fit better what was seen.

        Args:
            entries: (B, E) as the CVAE gave them.
            sigma: (B, E) their standard deviations.
            output: what perception saw, B crops.
            focal: (B,) focal lengths in crop widths.
        """
        refined = entries
        for _ in range(self.config.steps):
            refined = torch.stack(
                [
                    self._step(refined[row], entries[row], sigma[row], one_target(output, row, self.config), focal[row])
                    for row in range(len(entries))
                ]
            )
        return refined

    def _step(self, entries: Tensor, prior: Tensor, sigma: Tensor, target: "Target", focal: Tensor) -> Tensor:
        probes = torch.cat([entries[None], entries + _PROBE * torch.eye(len(entries))])
        seen = self._residuals(probes, target, focal)
        jacobian = (seen[1:] - seen[0]).T / _PROBE
        precision = self.config.prior_weight / sigma.square()
        normal = jacobian.T @ jacobian + torch.diag(precision + self.config.damping)
        slope = jacobian.T @ seen[0] + precision * (entries - prior)
        step: Tensor = torch.linalg.solve(normal, slope).clamp(-1.0, 1.0)
        return entries - step

    def _residuals(self, probes: Tensor, target: "Target", focal: Tensor) -> Tensor:
        """(N, 17·2 + 17·3) weighted differences of N variants of one person's labels."""
        bodies = body_in_crop(self._space, probes, focal.expand(len(probes)))
        keypoints, joints = self._kinematics(bodies)
        depth = keypoints[..., 2:].clamp_min(0.05)
        pixels = (focal * keypoints[..., :2] / depth + 0.5 - target.pixels) * target.pixel_weight[:, None]
        from_pelvis = keypoints - joints[:, :1]
        places = (from_pelvis - target.places) * target.place_weight[:, None]
        return torch.cat([pixels.flatten(1), places.flatten(1)], dim=1)


@dataclass(frozen=True, slots=True)
class Target:
    """What was seen of one person, with the inverse of each spread: pixels (17, 2), places from the pelvis (17, 3)."""

    pixels: Tensor
    pixel_weight: Tensor
    places: Tensor
    place_weight: Tensor


def one_target(output: PerceptionOutput, row: int, config: RefineConfig) -> Target:
    """Keypoints of one crop as targets; a keypoint that is not visible weighs little in the picture."""
    visible = output.visible_logit[row].float().sigmoid()
    spread = output.keypoints_sigma[row].float().square() + config.pixel_floor**2
    place_spread = output.joints_log_variance[row].float().exp() + config.depth_floor_m**2
    return Target(
        output.keypoints_2d[row].float(),
        visible / spread.sqrt(),
        output.joints_3d[row].float(),
        1 / place_spread.sqrt(),
    )
