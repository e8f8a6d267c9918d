"""Perception's output: the predictions of all heads for a batch of crops, and the feature vector for semantics.

`FusedOutput` has keypoints of two networks; what was learned on perception's own (features, the verifier's evidence)
reads `own`.

Shapes: B crops, J = 17 COCO keypoints, R = 22 joints, P body parts (background included), S the crop's side.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from common.body.anatomy import REGIONS
from common.tensor_rows import TensorRows
from sender.perception.heads import CAMERA, CURL, KEYPOINTS, ROTATIONS, SHAPE

PARTS = 1 + len(REGIONS)
SUMMARY = 96
# Standard deviation of a heat map, crop units, below which its keypoint is located.
LOCATED_SIGMA = 0.1

FEATURE_SIZE: int = 9 * KEYPOINTS + 7 * ROTATIONS + 2 * (SHAPE + CURL + CAMERA) + 1 + 6 + 4 * len(REGIONS) + SUMMARY
"""Columns of `PerceptionOutput.features()`."""
# Of its leading sections; those that are deviations, variances or visibilities.
_SIZES = (
    *(2 * KEYPOINTS, KEYPOINTS, KEYPOINTS, 3 * KEYPOINTS, KEYPOINTS, 6 * ROTATIONS, ROTATIONS),
    *(SHAPE, SHAPE, CURL, CURL, CAMERA, CAMERA, KEYPOINTS, 1),
)
_CERTAINTIES = (1, 2, 4, 6, 8, 10, 12, 14)
CERTAINTIES: int = sum(_SIZES[index] for index in _CERTAINTIES)
"""Columns of `certainty_of_features`."""


@dataclass(frozen=True, slots=True)
class PerceptionOutput(TensorRows):
    """The heads' predictions for B crops; lengths in metres, image positions in crop units (0…1), colours 0…1.

    Args:
        heat_logits: (B, J, S/4, S/4); their sigmoid is the heat map.
        keypoints_2d: (B, J, 2).
        keypoints_sigma: (B, J) standard deviation of each heat map.
        visible_logit: (B, J); its sigmoid is the probability that the keypoint is in the crop and not occluded.
        joints_3d: (B, J, 3) from the pelvis, axes of the crop's camera; from the keypoints head.
        joints_log_variance: (B, J) of one coordinate.
        rotations_6d: (B, R, 6) local, the root's in the crop's camera; not orthonormalised.
        rotations_log_variance: (B, R) of one entry of the rotation matrix.
        shape: (B, 10) coefficients; shape_log_variance likewise.
        curl: (B, 4) radians; curl_log_variance likewise.
        camera: (B, 3) u, v of the pelvis, and the log of the metres that the crop spans at the pelvis' distance.
        camera_log_variance: (B, 3).
        depth: (B, S/2, S/2) from the pelvis, positive away from the camera; valid on the person only.
        depth_log_variance: (B,).
        joint_depth: (B, J) of the visible surface at each keypoint, from the depth head.
        mask_logits: (B, S/2, S/2) of the person.
        part_logits: (B, P, S/2, S/2).
        mask_moments: (B, 6) area, centre x y, variances x y, covariance of the mask.
        region_colours: (B, P − 1, 3) mean visible colour of each body region.
        region_area: (B, P − 1) square root of the share of the crop that each region covers.
        summary: (B, 96) weighted statistics of the trunk's scales.
    """

    heat_logits: Tensor
    keypoints_2d: Tensor
    keypoints_sigma: Tensor
    visible_logit: Tensor
    joints_3d: Tensor
    joints_log_variance: Tensor
    rotations_6d: Tensor
    rotations_log_variance: Tensor
    shape: Tensor
    shape_log_variance: Tensor
    curl: Tensor
    curl_log_variance: Tensor
    camera: Tensor
    camera_log_variance: Tensor
    depth: Tensor
    depth_log_variance: Tensor
    joint_depth: Tensor
    mask_logits: Tensor
    part_logits: Tensor
    mask_moments: Tensor
    region_colours: Tensor
    region_area: Tensor
    summary: Tensor

    def split(self) -> list[Self]:
        """One batch of one for each crop."""
        return [self] if len(self) == 1 else [self[row : row + 1] for row in range(len(self))]

    @property
    def own(self) -> "PerceptionOutput":
        """What perception alone says, where a second network has changed its keypoints: this one."""
        return self

    @property
    def located(self) -> Tensor:
        """(B, J) keypoints that are visible and whose heat map has a narrow peak."""
        return (self.visible_logit > 0) & (self.keypoints_sigma < LOCATED_SIGMA)

    def features(self) -> Tensor:
        """Perception's part of X: (B, FEATURE_SIZE), all of order one; with perception's own keypoints."""
        own = self.own
        sections = (
            own.keypoints_2d * 4 - 2,
            own.keypoints_sigma.log() + 3,
            own.visible_logit.sigmoid(),
            self.joints_3d * 3,
            self.joints_log_variance * 0.5 + 2,
            self.rotations_6d,
            self.rotations_log_variance * 0.5 + 2,
            self.shape,
            self.shape_log_variance,
            self.curl,
            self.curl_log_variance,
            torch.cat([self.camera[:, :2] * 4, self.camera[:, 2:] * 2], dim=1),
            self.camera_log_variance * 0.5 + 2,
            self.joint_depth * 3,
            self.depth_log_variance * 0.5 + 2,
            self.mask_moments,
            self.region_colours,
            self.region_area,
            self.summary,
        )
        people = len(self)
        return torch.cat([section.reshape(people, -1) for section in sections], dim=-1)


def pose_of_features(features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of `PerceptionOutput.features`: `rotations_6d` (B, R, 6), `shape`, `curl` and `camera`."""
    sections = _leading_sections(features)
    camera = torch.cat([sections[11][:, :2] / 4, sections[11][:, 2:] / 2], dim=1)
    return sections[5].unflatten(1, (ROTATIONS, 6)), sections[7], sections[9], camera


def certainty_of_features(features: Tensor) -> Tensor:
    """Of `PerceptionOutput.features`, what perception says of its own errors: (B, CERTAINTIES)."""
    sections = _leading_sections(features)
    return torch.cat([sections[index] for index in _CERTAINTIES], dim=1)


def _leading_sections(features: Tensor) -> tuple[Tensor, ...]:
    """The sections of `PerceptionOutput.features` up to the variance of the depth."""
    sections: tuple[Tensor, ...] = features[:, : sum(_SIZES)].split(_SIZES, dim=1)
    return sections


def mask_moments(mask_BHW: Tensor, centres_N2: Tensor) -> Tensor:
    """Area, centre and second moments of soft masks, (B, 6), scaled to order one.

    Args:
        mask_BHW: 0…1.
        centres_N2: centres of the H·W cells in crop units.
    """
    flat = mask_BHW.flatten(1)
    weights = flat / flat.sum(dim=1, keepdim=True).clamp_min(1.0)
    mean = weights @ centres_N2
    second = weights @ torch.cat([centres_N2.square(), centres_N2.prod(dim=1, keepdim=True)], dim=1)
    spread = second - torch.cat([mean.square(), mean.prod(dim=1, keepdim=True)], dim=1)
    return torch.cat([flat.mean(dim=1, keepdim=True) * 3, mean * 4 - 2, spread * 20], dim=1)


def region_colours(image_B3HW: Tensor, parts_BPHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean visible colour (B, P − 1, 3) of each region, and the square root of its area (B, P − 1).

    A region that is not visible gets a neutral 0.5 rather than the colour of noise.

    Args:
        image_B3HW: 0…1.
        parts_BPHW: probability of each part at each pixel; part 0 is the background.
    """
    regions = parts_BPHW[:, 1:].flatten(2)
    covered = regions.sum(dim=2)
    colour = regions @ image_B3HW.flatten(2).transpose(1, 2)
    return (colour + 0.5) / (covered + 1.0)[..., None], (covered / regions.shape[2]).sqrt()


_OWN = "own_"


@dataclass(frozen=True, slots=True)
class FusedOutput(PerceptionOutput):
    """Perception's output, whose `keypoints_2d`, `keypoints_sigma` and `visible_logit` are those of both networks.

    Args:
        own_keypoints_2d, own_keypoints_sigma, own_visible_logit: perception's.
        second_score: (B, J) of the other network, 0…1.
        second_keypoints_2d: (B, J, 2) its keypoints.
    """

    own_keypoints_2d: Tensor
    own_keypoints_sigma: Tensor
    own_visible_logit: Tensor
    second_score: Tensor
    second_keypoints_2d: Tensor

    @classmethod
    def of(
        cls,
        output: PerceptionOutput,
        keypoints_2d: Tensor,
        keypoints_sigma: Tensor,
        visible_logit: Tensor,
        second_score: Tensor,
        second_keypoints_2d: Tensor,
    ) -> "FusedOutput":
        """Perception's output with the keypoints of both networks in the place of its own."""
        own = {item.name: getattr(output, item.name) for item in fields(PerceptionOutput)}
        fused = {
            "keypoints_2d": keypoints_2d,
            "keypoints_sigma": keypoints_sigma,
            "visible_logit": visible_logit,
        }
        second = {"second_score": second_score, "second_keypoints_2d": second_keypoints_2d}
        return cls(**own | fused, **{_OWN + name: own[name] for name in fused}, **second)

    @property
    def own(self) -> PerceptionOutput:
        """The output of perception alone."""
        names = [item.name for item in fields(PerceptionOutput)]
        return PerceptionOutput(**{name: getattr(self, _OWN + name, getattr(self, name)) for name in names})
