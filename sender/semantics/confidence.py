"""The probability that the keypoints of a limb lie where the receiver publishes them.

A logistic regression for each kind of limb (head, arm, leg; both sides share it) on what sender and labels know of
their certainty, fitted on photographs that no network was trained on.  A keypoint is right if it is within 0.1 of the
longer side of the person's box.

Shapes: B people, L = 5 limbs, F numbers of evidence, K = 17 keypoints, E label entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor, nn

from common.body.anatomy import KEYPOINT_GROUPS
from common.labels import group_slices
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.perception.inference.crop import CROP_MARGIN
from sender.perception.inference.verifier import log_odds
from sender.perception.network.output import PerceptionOutput

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


def evidence(output: PerceptionOutput, projected_BK2: Tensor, sigma_BE: Tensor, score_B: Tensor) -> Tensor:
    """(B, L, F) what is known of the certainty of each limb.

    Args:
        output: perception's, B crops.
        projected_BK2: the keypoints of the labels' bodies, crop units.
        sigma_BE: standard deviations of the label entries.
        score_B: the probability that there is a person.
    """
    slices = group_slices()
    apart = (projected_BK2 - output.keypoints_2d.float()).norm(dim=-1) * CROP_MARGIN
    rows = []
    for limb, keypoints in LIMBS.items():
        leading = sigma_BE[:, slices[limb]][:, :_LEADING_ENTRIES]
        columns = (
            output.keypoints_sigma.float()[:, keypoints].mean(dim=1).clamp_min(_LEAST_SIGMA).log(),
            output.visible_logit.float()[:, keypoints].clamp(-_MAX_LOGIT, _MAX_LOGIT).mean(dim=1),
            (apart[:, keypoints].mean(dim=1) + _LEAST_DISTANCE).log(),
            leading.mean(dim=1).clamp_min(_LEAST_SIGMA).log(),
            log_odds(score_B),
        )
        rows.append(torch.stack(columns, dim=-1))
    return torch.stack(rows, dim=1)


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
        self.net = net.eval().requires_grad_(False)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """The shipped regression; raises WeightsError where its weights are missing, damaged or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, ConfidenceConfig, ConfidenceNet, directory))

    @torch.inference_mode()
    def limbs(self, evidence_BLF: Tensor) -> list[dict[str, float]]:
        """For each person, label group → probability 0…1, of the groups in `LIMBS`."""
        probability = self.net(evidence_BLF).sigmoid().tolist()
        return [dict(zip(LIMBS, row, strict=True)) for row in probability]
