"""How sure the labels of limbs are, and which limbs nobody sees.

The probability that the keypoints of a limb lie where the receiver publishes them is a logistic regression for each
kind of limb (head, arm, leg; both sides share it) on what sender and labels know of their certainty, fitted on
photographs that no network was trained on.  A keypoint is right if it is within 0.1 of the longer side of the person's
box.

A limb is seen by one of its outer keypoints: elbow or wrist, knee or ankle, any of the head's.  Both the heat map and
the fitted body have to place it in the picture, and perception has to think it visible.  Legs whose hip both place
below the picture are not seen: what is read there is a hand, a table or cloth.  In a stream the evidence is averaged,
sooner upwards than downwards: a limb that comes into view is seen within 0.2 s, one that a hand covers for a moment
stays seen.

The thresholds are of the validation split.  Of rendered legs and arms whose outer keypoints are all visible 99.7 % are
kept, in photographs 97 % and 100 %; of legs beyond the edge of the picture, 82 to 88 % are found.  Of hidden arms only
one in four is: most are behind their person, where perception can follow them.

Shapes: B people, L = 5 limbs, F numbers of evidence, K = 17 keypoints, E label entries.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import KEYPOINT_GROUPS
from common.frames import Camera
from common.labels import MAY_BE_UNSEEN, group_slices
from common.weights.devices import to_numpy
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.perception.crop import CROP_MARGIN, CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.read import log_odds
from sender.perception.track import HELD_S, ObservedPerson
from sender.semantics.bodies import together

WEIGHTS_NAME: Final = "confidence"
KIND: Final = "confidence-logistic-1"
RIGHT_WITHIN: Final = 0.1
"""Error of a keypoint that is right, over the longer side of the person's box."""

LIMBS: Final[Mapping[str, tuple[int, ...]]] = {
    limb: tuple(index for index, group in enumerate(KEYPOINT_GROUPS) if group == limb)
    for limb in dict.fromkeys(KEYPOINT_GROUPS)
}
"""Label group → its keypoints."""

KIND_OF_LIMB: Final = (0, 1, 1, 2, 2)
KINDS: Final = 3
EVIDENCE: Final = 5
# Label entries of a limb whose deviation counts: the leading ones move it most.
_LEADING_ENTRIES: Final = 3
_MAX_LOGIT: Final = 8.0
_LEAST_DISTANCE, _LEAST_SIGMA = 0.01, 1e-3
# (L, 3) those entries, and (K, L) the weights of a limb's keypoints in their mean.
_LEADING: Final = np.array([np.arange(_LEADING_ENTRIES) + group_slices()[limb].start for limb in LIMBS])
_MEANS: Final = np.stack([np.isin(np.arange(17), each) / np.float32(len(each)) for each in LIMBS.values()], axis=1)


def evidence(observed: Sequence[ObservedPerson], keypoints_BK2: FloatArray, sigma_BE: FloatArray) -> FloatArray:
    """(B, L, F) what is known of the certainty of each limb.

    Args:
        observed: B people.
        keypoints_BK2: those of their bodies, pixels.
        sigma_BE: standard deviations of the label entries.
    """
    output, score_B = together(observed), np.array([person.score for person in observed], np.float32)
    pairs = zip(observed, keypoints_BK2, strict=True)
    projected_BK2 = np.stack([person.crop.to_units(keypoints) for person, keypoints in pairs])
    apart = np.linalg.norm(projected_BK2 - to_numpy(output.keypoints_2d), axis=-1) * CROP_MARGIN
    visible = to_numpy(output.visible_logit).clip(-_MAX_LOGIT, _MAX_LOGIT)
    log_odds_B = to_numpy(log_odds(torch.from_numpy(score_B)))
    columns = (
        np.log(np.maximum(to_numpy(output.keypoints_sigma) @ _MEANS, _LEAST_SIGMA)),
        visible @ _MEANS,
        np.log(apart @ _MEANS + _LEAST_DISTANCE),
        np.log(np.maximum(sigma_BE[:, _LEADING].mean(axis=2), _LEAST_SIGMA)),
        np.broadcast_to(log_odds_B[:, None], (len(score_B), len(LIMBS))),
    )
    return np.stack(columns, axis=-1)


@dataclass(frozen=True, slots=True)
class ConfidenceConfig:
    """Sizes, as the manifest records them."""

    evidence: int = EVIDENCE


class ConfidenceNet(nn.Module):
    """Evidence (B, L, F) → (B, L) log odds that a keypoint of the limb is right."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ConfidenceConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(KINDS, config.evidence))
        self.bias = nn.Parameter(torch.zeros(KINDS))
        self.register_buffer("mean", torch.zeros(config.evidence))
        self.register_buffer("scale", torch.ones(config.evidence))

    def forward(self, evidence_BLF: Tensor) -> Tensor:
        standardised = (evidence_BLF - self.mean) / self.scale
        kinds = list(KIND_OF_LIMB)
        log_odds_BL: Tensor = (standardised * self.weight[kinds]).sum(dim=-1) + self.bias[kinds]
        return log_odds_BL


class KeypointConfidence:
    """Estimates how likely the keypoints of each limb are right."""

    def __init__(self, net: ConfidenceNet) -> None:
        self.net, kinds = net.eval().requires_grad_(False), list(KIND_OF_LIMB)
        weight_LF = (net.weight / net.scale)[kinds]
        self._weight_LF, self._bias_L = weight_LF.numpy(), (net.bias[kinds] - weight_LF @ net.mean).numpy()

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """The shipped regression; raises WeightsError where its weights are missing, damaged or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, ConfidenceConfig, ConfidenceNet, directory))

    def limbs(self, evidence_BLF: FloatArray) -> list[dict[str, float]]:
        """For each person, label group → probability 0…1, of the groups in `LIMBS`."""
        log_odds_BL = (evidence_BLF * self._weight_LF).sum(axis=-1) + self._bias_L
        return [dict(zip(LIMBS, row, strict=True)) for row in (1 / (1 + np.exp(-log_odds_BL))).tolist()]


LEAST_CONFIDENCE: Final = 1 / 15
"""Of a limb that is seen; the confidence of others is 0."""

# COCO keypoints of which one has to be seen.
_OUTER: Final = {
    "head": [0, 1, 2, 3, 4],
    "left_arm": [7, 9],
    "right_arm": [8, 10],
    "left_leg": [13, 15],
    "right_leg": [14, 16],
}
_ARMS: Final = {"left_arm", "right_arm"}
# Of each leg, its hip and its outer keypoints.
_LEGS: Final = np.array([[11, 13, 15], [12, 14, 16]])
# Log odds of being visible, beyond which more of them says no more, …
_SURE: Final = 3.0
# … below which a limb is unseen, and above which it is seen again.
_UNSEEN, _SEEN = -1.0, -0.2
# Time constants of the means, seconds: of log odds that rise and fall, and of the confidences.
_UP_S, _DOWN_S = 0.1, 0.5
_CONFIDENCE_S: Final = 0.5


def limb_log_odds(output: PerceptionOutput, fitted_K2: FloatArray, crop: CropBox, camera: Camera) -> FloatArray:
    """(L,) of the limbs of one person: the largest log odds that one of their outer keypoints is visible.

    Args:
        output: perception's, of one crop.
        fitted_K2: keypoints of the fitted body, pixels.
    """
    pixels = np.stack([crop.to_pixels(to_numpy(output.keypoints_2d[0])), fitted_K2])
    inside = np.asarray(((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=(0, 2)))
    below = (pixels[:, _LEGS[:, 0], 1] >= camera.height).all(axis=0)
    inside[_LEGS[below]] = False
    visible = np.where(inside, to_numpy(output.visible_logit[0]).clip(-_SURE, _SURE), -_SURE)
    return np.array([visible[_OUTER[limb]].max() for limb in LIMBS], np.float32)


@dataclass(slots=True)
class SteadyConfidence:
    """A person's confidences that are sent: averaged over time, and 0 for what nobody sees.

    Args:
        log_odds, confidence: running means: (L,) of the limbs, and of each group.
    """

    time_s: float = -math.inf
    log_odds: FloatArray = field(default_factory=lambda: np.zeros(len(LIMBS), np.float32))
    unseen: frozenset[str] = frozenset()
    confidence: dict[str, float] = field(default_factory=dict)

    def steady(self, time_s: float, confidence: Mapping[str, float], log_odds_L: FloatArray) -> dict[str, float]:
        """The confidence of each group; that of hands is 0 if both arms are unseen.

        Args:
            time_s: of the frame, on the source's clock; where it does not advance, this frame alone decides.
            confidence: of each group in this frame.
            log_odds_L: of `limb_log_odds`.
        """
        if 0.0 < time_s - self.time_s <= HELD_S:
            self._add(time_s - self.time_s, confidence, log_odds_L)
        else:
            self.log_odds, self.unseen, self.confidence = log_odds_L, _below(log_odds_L, frozenset()), dict(confidence)
        self.time_s = time_s
        hidden = {*self.unseen, *(["hands"] if self.unseen >= _ARMS else [])}
        return {
            group: 0.0 if group in hidden else max(value, LEAST_CONFIDENCE) if group in MAY_BE_UNSEEN else value
            for group, value in self.confidence.items()
        }

    def _add(self, step_s: float, confidence: Mapping[str, float], log_odds_L: FloatArray) -> None:
        gain = 1 - np.exp(-step_s / np.where(log_odds_L > self.log_odds, _UP_S, _DOWN_S))
        self.log_odds = np.asarray(self.log_odds + gain * (log_odds_L - self.log_odds), np.float32)
        self.unseen = _below(self.log_odds, self.unseen)
        share = 1 - math.exp(-step_s / _CONFIDENCE_S)
        for group, value in confidence.items():
            known = self.confidence.get(group, value)
            self.confidence[group] = known + share * (value - known)


def _below(log_odds_L: FloatArray, unseen: frozenset[str]) -> frozenset[str]:
    """The limbs that are unseen now, some of which were `unseen` before."""
    limits = [_SEEN if limb in unseen else _UNSEEN for limb in LIMBS]
    return frozenset(limb for limb, value, limit in zip(LIMBS, log_odds_L, limits, strict=True) if value < limit)
