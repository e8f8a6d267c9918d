"""What predicts the label entries of people, and their standard deviations, from perception's features.

    pose     the entries of perception's pose head; log σ = W c + b, of the certainties c that perception states
    paper    the CVAE of (8) to (11), by `--semantics paper`: the mean of π_θ at the prior's mean, and its deviations

The CVAE adds nothing to the pose head, which it reads: its latent carries 9 nats about the labels, but labels that are
decoded with them known are no nearer to the truth.  The errors of both are close to independent: the refinement with
their whole covariance as its prior is no better than with its diagonal.

Shapes: B people, E = 80 entries.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from torch import Tensor, nn

from common.body.label_space import LabelSpace
from common.errors import WeightsError
from common.weights.loader import load_into, load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from sender.perception.network.output import CERTAINTIES, certainty_of_features
from sender.semantics.categorical import moments
from sender.semantics.crop_labels import FEATURE_SIZE, pose_entries, semantic_features
from sender.semantics.cvae import ENTRIES, SemanticCVAE, SemanticsConfig

Method = Literal["pose", "paper"]

ERRORS_NAME: Final = "pose_errors"
ERRORS_KIND: Final = "pose-errors-linear-1"
CVAE_NAME: Final = "semantics"
# Of log σ, σ in deviations of an entry over people.
_LOG_SIGMA_RANGE: Final = (-3.0, 1.0)


@dataclass(frozen=True, slots=True)
class PoseErrorsConfig:
    """Size of the linear model, as the manifest records it."""

    certainties: int = CERTAINTIES


class PoseErrors(nn.Linear):
    """Certainties (B, C) → log σ (B, E) of the pose head's entries."""

    def __init__(self, config: PoseErrorsConfig) -> None:
        super().__init__(config.certainties, ENTRIES)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> "PoseErrors":
        """The shipped one; raises WeightsError where its weights are missing, damaged or of another version."""
        return load_recorded(ERRORS_NAME, ERRORS_KIND, PoseErrorsConfig, cls, directory)


class PoseHead(nn.Module):
    """Perception's features (B, …) → the pose head's entries and their standard deviations, (B, E)."""

    def __init__(self, errors: PoseErrors, space: LabelSpace) -> None:
        super().__init__()
        self.errors, self.space = errors, space

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        log_sigma: Tensor = self.errors(certainty_of_features(features))
        return pose_entries(self.space, features), log_sigma.clamp(*_LOG_SIGMA_RANGE).exp()


class CvaePredictor(nn.Module):
    """The CVAE in use: perception's features (B, …) → mean and standard deviation (B, E) of the label entries."""

    def __init__(self, network: SemanticCVAE, space: LabelSpace) -> None:
        super().__init__()
        self.network, self.space = network, space

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return moments(self.network(semantic_features(self.space, features)))


def architecture(config: SemanticsConfig) -> dict[str, int]:
    """The CVAE as the manifest records it: everything that determines the shapes of its weights."""
    return {"features": config.feature_size, "latent": config.latent_size, "hidden": config.hidden_size}


def load_cvae() -> SemanticCVAE:
    """The CVAE of the package; raises WeightsError where its weights are missing or of another version."""
    recorded = find_entry(CVAE_NAME).architecture
    try:
        config = SemanticsConfig(recorded["features"], recorded["latent"], recorded["hidden"])
    except KeyError as error:
        raise WeightsError(f"weights {CVAE_NAME!r} are of another version: reinstall bodywire") from error
    if config.feature_size != FEATURE_SIZE:
        raise WeightsError(f"weights {CVAE_NAME!r} belong to another perception network: retrain them")
    return load_into(SemanticCVAE(config), CVAE_NAME)


def load_predictor(method: Method = "pose") -> nn.Module:
    """With the weights of the package; raises WeightsError where they are missing or of another version."""
    if method == "paper":
        return CvaePredictor(load_cvae(), LabelSpace.load()).eval()
    return PoseHead(PoseErrors.load(), LabelSpace.load()).eval()


def weights_of(method: Method) -> str:
    """Name of the entry of the manifest."""
    return CVAE_NAME if method == "paper" else ERRORS_NAME
