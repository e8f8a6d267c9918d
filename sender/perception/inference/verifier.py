"""Whether a crop shows a person at all: the second stage of detection, judged by how sure perception is.

The detector sees a frame coarsely and takes a fir tree or a bag for a person.  Perception looks closely, and where
there is nobody it places no keypoint sharply.  This network reads how certain perception is, and not what it sees, so
that what it learns on rendered frames holds for photographs.

Shapes: B crops, J = 17 keypoints.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import FloatArray
from common.weights.loader import WEIGHTS_DIRECTORY, load_into, recorded_config
from sender.perception.network.keypoints import KEYPOINTS
from sender.perception.network.output import PARTS, PerceptionOutput

WEIGHTS_NAME = "verifier"
EVIDENCE = 4 * KEYPOINTS + (PARTS - 1) + 5
_KIND = "verifier-mlp-1"


def evidence(output: PerceptionOutput) -> Tensor:
    """How sure perception is, (B, EVIDENCE): of each keypoint, of each body region, of the pose and of the mask."""
    person = output.mask_logits.sigmoid()
    sections = (
        output.visible_logit,
        output.keypoints_sigma.log() + 3,
        output.heat_logits.amax(dim=(-2, -1)),
        output.joints_log_variance * 0.5 + 2,
        output.region_area * 4,
        output.rotations_log_variance.mean(dim=1, keepdim=True) * 0.5 + 2,
        output.shape_log_variance.mean(dim=1, keepdim=True),
        output.camera_log_variance.mean(dim=1, keepdim=True) * 0.5 + 2,
        output.depth_log_variance[:, None] * 0.5 + 2,
        (2 * person - 1).abs().mean(dim=(-2, -1))[:, None] * 10 - 8,
    )
    return torch.cat([section.float() for section in sections], dim=1)


@dataclass(frozen=True, slots=True)
class VerifierConfig:
    """Sizes of the network; what the manifest records.

    Args:
        hidden: units between evidence and verdict.
    """

    hidden: int = 24


class VerifierNet(nn.Module):
    """Evidence (B, EVIDENCE) → (B,) log likelihood ratios: a person, as far as in sight, against anything else."""

    def __init__(self, config: VerifierConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm1d(EVIDENCE, affine=False)
        self.hidden = nn.Linear(EVIDENCE, config.hidden)
        self.verdict = nn.Linear(config.hidden, 1)

    def forward(self, evidence_BE: Tensor) -> Tensor:
        verdict: Tensor = self.verdict(functional.gelu(self.hidden(self.norm(evidence_BE))))
        return verdict[:, 0]


class Verifier:
    """Judges what perception saw.

    Args:
        net: the trained network.
    """

    def __init__(self, net: VerifierNet) -> None:
        self.net = net.eval().requires_grad_(False)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> "Verifier":
        """The network that ships.

        Raises:
            WeightsError: its weights are missing, damaged or of another version.
        """
        net = VerifierNet(recorded_config(WEIGHTS_NAME, _KIND, VerifierConfig, directory))
        return cls(load_into(net, WEIGHTS_NAME, architecture(net.config), directory))

    @torch.inference_mode()
    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        """How likely each crop shows a person, (B,) 0…1.

        Args:
            output: what perception saw, B crops.
            prior: (B,) or one for all: how likely that was before it looked.
        """
        before = log_odds(torch.as_tensor(prior, dtype=torch.float32))
        return np.asarray((self.net(evidence(output)) + before).sigmoid().numpy(), dtype=np.float32)


def log_odds(chance: Tensor) -> Tensor:
    """Of chances 0…1, none of which is taken for certain."""
    return torch.logit(chance, eps=0.02)


def architecture(config: VerifierConfig) -> dict[str, Any]:
    """What the manifest says of the network."""
    return {"kind": _KIND, **asdict(config)}
