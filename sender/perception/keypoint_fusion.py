"""Fusion of perception's keypoints with MoveNet's.

Each network is right, with an error of its own σ, or wrong, and then its keypoint lies anywhere: it has taken the other
limb, or somebody else.  With a and b the places that the networks say, p_a and p_b their probabilities of being right
and u the density of wrong places, the true place x has the posterior of four hypotheses,

    both right      p_a p_b N(a − b; 0, σ_a² + σ_b²)    at the mean that the inverse variances weigh
    a or b alone    p_a (1 − p_b) u,  (1 − p_a) p_b u   at a, at b
    both wrong      (1 − p_a) (1 − p_b) u               around the middle, with the variance of a wrong place

The fused place is the one of the first three where this mixture is densest, never a mean of two limbs.  Its σ is the
root of the mixture's mean square about it.  p, log σ and the log odds of being visible are linear in what both networks
say of their certainty, with an offset for each kind of keypoint; `sender.train.keypoint_fusion` fits them to held-back
people.

Shapes: B crops, J = 17 COCO keypoints, F numbers of evidence; lengths in crop units.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.body.anatomy import COCO_KEYPOINTS, MIRRORED_KEYPOINTS
from common.tensor_rows import TensorRows

WEIGHTS_NAME: Final = "keypoint_fusion"
KIND: Final = "keypoint-fusion-mixture-1"
Reading = Literal["lightning", "thunder", "thorough"]
"""What MoveNet read: a crop by one of its networks, or crops of several sizes in both views by Thunder."""
READINGS: tuple[Reading, ...] = get_args(Reading)

EVIDENCE: Final = 8
_KINDS = tuple(dict.fromkeys(name.split("_")[-1] for name in COCO_KEYPOINTS))
_KIND_OF = tuple(_KINDS.index(name.split("_")[-1]) for name in COCO_KEYPOINTS)
# Range of log σ, so that no keypoint counts more than the annotations are exact.
_LOG_SIGMA = (-6.0, 0.0)
_MAX_LOGIT = 8.0
_LEAST_SCORE = 0.01
# Added to lengths, crop units, whose logarithm is evidence.
_LEAST = 3e-3
# Perception's σ, crop units, below which it is certain of left and right, and the distance by which two keypoints must
# be nearer to its own under each other's names.  Chosen on the people that the fusion is fitted to.
_CERTAIN_SIGMA, _EXCHANGED = 0.03, 0.05
# Standard deviation, crop units, at which two peaks of the mixture's density are one.
_PEAK = 0.02
_LOG_TAU = math.log(2 * math.pi)


@dataclass(frozen=True, slots=True)
class SecondKeypoints(TensorRows):
    """What MoveNet says of B crops, one or several views together.

    Args:
        places: (B, J, 2).
        score: (B, J) 0…1.
        spread: (B, J) standard deviation of the heat map around its peak.
        apart: (B, J) distance from the keypoint that the person's centre regresses.
        between: (B, J) standard deviation of the views' places; 0 of one view.
    """

    places: Tensor
    score: Tensor
    spread: Tensor
    apart: Tensor
    between: Tensor


class OwnKeypoints(NamedTuple):
    """Perception's `keypoints_2d` (B, J, 2), `keypoints_sigma` and `visible_logit` (B, J)."""

    places: Tensor
    sigma: Tensor
    visible: Tensor


class Mixture(NamedTuple):
    """The four hypotheses of the true place: log weights, means and variances, (B, J, 4), (B, J, 4, 2), (B, J, 4)."""

    log_weight: Tensor
    mean: Tensor
    variance: Tensor

    def log_density(self, places: Tensor, blur: float = 0.0) -> Tensor:
        """(B, J) at places (B, J, 2), of the mixture with a variance of `blur`² added."""
        variance = self.variance + blur**2
        squared = (self.mean - places[..., None, :]).square().sum(dim=-1)
        return torch.logsumexp(self.log_weight - 0.5 * squared / variance - variance.log() - _LOG_TAU, dim=-1)

    def densest(self) -> tuple[Tensor, Tensor]:
        """The place (B, J, 2) that fusion gives, and its standard deviation (B, J) of one coordinate."""
        densities = [self.log_density(self.mean[..., index, :], _PEAK) for index in range(3)]
        chosen = torch.stack(densities, dim=-1).argmax(dim=-1)
        index = chosen[..., None, None].expand(*chosen.shape, 1, 2)
        place = self.mean.gather(2, index)[..., 0, :]
        squared = (self.mean - place[..., None, :]).square().sum(dim=-1) / 2 + self.variance
        return place, (self.log_weight.exp() * squared).sum(dim=-1).sqrt()


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Sizes, as the manifest records them."""

    evidence: int = EVIDENCE


class ReadingFusion(nn.Module):
    """The fusion with one kind of reading: perception's and MoveNet's keypoints → the mixture, and visibility."""

    kind_of: Tensor
    mirrored: Tensor

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        kinds, numbers = len(_KINDS), config.evidence
        self.log_sigma, self.log_sigma_of = _linear(2, kinds, numbers, -3.5)
        self.right, self.right_of = _linear(2, kinds, numbers, 2.0)
        self.visible, self.visible_of = _linear(1, kinds, numbers + 1, 0.0)
        # Logs of the standard deviations of a wrong place about another, and of the true place about two wrong ones.
        self.log_wrong, self.log_anywhere = nn.Parameter(torch.tensor(-1.5)), nn.Parameter(torch.tensor(-1.2))
        self.register_buffer("kind_of", torch.tensor(_KIND_OF), persistent=False)
        self.register_buffer("mirrored", torch.tensor(MIRRORED_KEYPOINTS), persistent=False)

    def forward(self, own: OwnKeypoints, second: SecondKeypoints) -> tuple[Mixture, Tensor]:
        """The hypotheses, and the log odds (B, J) that the keypoint is visible."""
        second = named_as(own, second, self.mirrored)
        numbers = evidence(own, second)
        low, high = _LOG_SIGMA
        variance = (2 * self._of(self.log_sigma, self.log_sigma_of, numbers).clamp(low, high)).exp()
        log_right = functional.logsigmoid(self._of(self.right, self.right_of, numbers))
        log_wrong = functional.logsigmoid(-self._of(self.right, self.right_of, numbers))
        squared = (own.places - second.places).square().sum(dim=-1)
        both = variance.sum(dim=0)
        elsewhere = -2 * self.log_wrong - _LOG_TAU
        weights = (
            log_right.sum(dim=0) - 0.5 * squared / both - both.log() - _LOG_TAU,
            log_right[0] + log_wrong[1] + elsewhere,
            log_wrong[0] + log_right[1] + elsewhere,
            log_wrong.sum(dim=0) + elsewhere,
        )
        places = torch.stack([own.places, second.places])
        precision = 1 / variance
        mean = (precision[..., None] * places).sum(dim=0) / precision.sum(dim=0)[..., None]
        anywhere = (2 * self.log_anywhere).exp() + squared / 4
        mixture = Mixture(
            torch.log_softmax(torch.stack(weights, dim=-1), dim=-1),
            torch.stack([mean, *places, places.mean(dim=0)], dim=-2),
            torch.stack([1 / precision.sum(dim=0), *variance, anywhere], dim=-1),
        )
        agreement = (squared.sqrt() + _LEAST).log()[..., None]
        visible = self._of(self.visible, self.visible_of, torch.cat([numbers, agreement], dim=-1))
        return mixture, visible[0]

    def _of(self, offsets: Tensor, weights: Tensor, numbers: Tensor) -> Tensor:
        """(N, B, J): linear in evidence (B, J, F), by offsets (N, kinds) and weights (N, F)."""
        return offsets[:, None, self.kind_of] + (numbers @ weights.T).movedim(-1, 0)


class KeypointFusion(nn.Module):
    """`ReadingFusion` of each kind of reading."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.readings = nn.ModuleDict({reading: ReadingFusion(config) for reading in READINGS})


class FusionGraph(nn.Module):
    """The fusion with one kind of reading in use: the columns of `OwnKeypoints` and of `SecondKeypoints` → the places
    (B, J, 2), their σ, and the log odds of being visible.
    """

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own, second = columns[: len(OwnKeypoints._fields)], columns[len(OwnKeypoints._fields) :]
        mixture, visible = self.fusion(OwnKeypoints(*own), SecondKeypoints(*second))
        return *mixture.densest(), visible

    @staticmethod
    def example() -> tuple[Tensor, ...]:
        """Inputs of one crop."""
        places, number = torch.zeros(1, len(COCO_KEYPOINTS), 2), torch.zeros(1, len(COCO_KEYPOINTS))
        return places, number, number, places, number, number, number, number


def named_as(own: OwnKeypoints, second: SecondKeypoints, mirrored_J: Tensor) -> SecondKeypoints:
    """MoveNet's keypoints with left and right exchanged in pairs that perception, which is certain, names otherwise.

    Of rendered people 94 % of such keypoints are right by perception's names and 21 % by Thunder's; of people in
    photographs, where it is hardly ever so certain, there are 0.2 %.

    Args:
        mirrored_J: numbers of the keypoints that have these names in a mirror image.
    """

    def other(values: Tensor) -> Tensor:
        return values.index_select(1, mirrored_J)

    def of_pair(values: Tensor) -> Tensor:
        return values + other(values)

    same = of_pair((own.places - second.places).norm(dim=-1))
    exchanged = of_pair((own.places - other(second.places)).norm(dim=-1))
    certain = of_pair(own.sigma) < 2 * _CERTAIN_SIGMA
    chosen = certain & (exchanged + _EXCHANGED < same)

    def named(column: Tensor) -> Tensor:
        return torch.where(chosen.reshape(*chosen.shape, *[1] * (column.ndim - 2)), other(column), column)

    return SecondKeypoints(*map(named, second.columns()))


def evidence(own: OwnKeypoints, second: SecondKeypoints) -> Tensor:
    """(B, J, F) what both networks say of their certainty about each keypoint and, on average, about the person."""
    score = second.score.clamp(_LEAST_SCORE, 1 - _LEAST_SCORE)
    # Not `Tensor.logit`, which OpenVINO does not know.
    score = (score / (1 - score)).log() / 2
    sigma = (own.sigma + _LEAST).log() + 3
    columns = (
        score,
        score.mean(dim=1, keepdim=True).expand_as(score),
        sigma,
        sigma.mean(dim=1, keepdim=True).expand_as(score),
        own.visible.clamp(-_MAX_LOGIT, _MAX_LOGIT) / 4,
        *((length + _LEAST).log() + 4 for length in (second.spread, second.apart, second.between)),
    )
    return torch.stack(columns, dim=-1)


def _linear(count: int, kinds: int, numbers: int, offset: float) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(torch.full((count, kinds), offset)), nn.Parameter(torch.zeros(count, numbers))
