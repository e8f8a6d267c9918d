"""The verifier: a second-stage classifier that decides whether a crop shows a person.

The detector works on a small frame and confuses trees or bags with people.  Perception works on a crop at higher
resolution, and on a negative crop its heat maps have no narrow peaks.  The verifier reads perception's uncertainties
and the statistics of its trunk, but none of its predictions.

Where MoveNet gives a second opinion on the keypoints, its scores and the look make one verdict.

Shapes: B crops, J = 17 keypoints.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import FloatArray
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.perception.network.fused_output import FusedOutput
from sender.perception.network.keypoints import KEYPOINTS
from sender.perception.network.output import PARTS, SUMMARY, PerceptionOutput

WEIGHTS_NAME = "verifier"
EVIDENCE = 4 * KEYPOINTS + (PARTS - 1) + 5 + SUMMARY
KIND = "verifier-mlp-4"
_LOG_SIGMA_OFFSET = 3.0
# The second opinion's surest keypoints, of which its certainty is the mean: somebody cut or hidden in part has as many.
_SUREST = 5
_LEAST_SCORE = 0.01


def evidence(output: PerceptionOutput) -> Tensor:
    """(B, EVIDENCE): perception's own uncertainties of each keypoint and body region, of the pose and of the mask; then
    its trunk's statistics.
    """
    output = output.own
    person = output.mask_logits.sigmoid()
    sections = (
        output.visible_logit,
        output.keypoints_sigma.log() + _LOG_SIGMA_OFFSET,
        output.heat_logits.amax(dim=(-2, -1)),
        output.joints_log_variance * 0.5 + 2,
        output.region_area * 4,
        output.rotations_log_variance.mean(dim=1, keepdim=True) * 0.5 + 2,
        output.shape_log_variance.mean(dim=1, keepdim=True),
        output.camera_log_variance.mean(dim=1, keepdim=True) * 0.5 + 2,
        output.depth_log_variance[:, None] * 0.5 + 2,
        (2 * person - 1).abs().mean(dim=(-2, -1))[:, None] * 10 - 8,
        output.summary,
    )
    return torch.cat([section.float() for section in sections], dim=1)


def second_certainty(output: FusedOutput) -> Tensor:
    """(B,) mean log odds of the five largest scores that the second opinion gives to keypoints."""
    surest = output.second_score.float().topk(_SUREST, dim=1).values
    return surest.clamp(_LEAST_SCORE, 1 - _LEAST_SCORE).logit().mean(dim=1)


@dataclass(frozen=True, slots=True)
class VerifierConfig:
    """Sizes of the network, as the manifest records them.

    Args:
        hidden: width of the hidden layer.
    """

    hidden: int = 24


class VerifierNet(nn.Module):
    """Evidence (B, EVIDENCE) → (B,) log likelihood ratios of a person (also one seen in part) against anything else."""

    def __init__(self, config: VerifierConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm1d(EVIDENCE, affine=False)
        self.hidden = nn.Linear(EVIDENCE, config.hidden)
        self.verdict = nn.Linear(config.hidden, 1)
        self.opinions = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 1))

    def forward(self, evidence_BE: Tensor) -> Tensor:
        log_ratio: Tensor = self.verdict(functional.gelu(self.hidden(self.norm(evidence_BE))))
        return log_ratio[:, 0]

    def of_two_opinions(self, evidence_BE: Tensor, certainty_B: Tensor, prior_log_odds_B: Tensor) -> Tensor:
        """(B,) log odds of a person, from the evidence of one look and `second_certainty`: a logistic regression."""
        own = self(evidence_BE).detach() + prior_log_odds_B
        verdict: Tensor = self.opinions(torch.stack([own, certainty_B], dim=1))
        return verdict[:, 0]


class Verifier:
    """Estimates whether crops show a person, from perception's output."""

    def __init__(self, net: VerifierNet) -> None:
        self.net = net.eval().requires_grad_(False)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """The shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, VerifierConfig, VerifierNet, directory))

    @torch.inference_mode()
    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        """The probability that each crop shows a person, (B,) 0…1.

        Args:
            output: perception's, B crops; with a second opinion (`FusedOutput`), it counts.
            prior: (B,) or one for all: the probability before perception, such as the detector's score.
        """
        prior_log_odds = log_odds(torch.as_tensor(prior, dtype=torch.float32).expand(len(output)))
        if isinstance(output, FusedOutput):
            posterior = self.net.of_two_opinions(evidence(output), second_certainty(output), prior_log_odds)
        else:
            posterior = self.net(evidence(output)) + prior_log_odds
        return np.asarray(posterior.sigmoid().numpy(), dtype=np.float32)


def log_odds(probability: Tensor) -> Tensor:
    """Log odds of probabilities, which are clamped to 0.02…0.98."""
    return torch.logit(probability, eps=0.02)
