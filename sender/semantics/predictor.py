"""The label entries of perception's pose head, and their standard deviations: log σ = W c + b, of what perception says
of its certainty, c.

Shapes: B people, E = 80 entries.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from torch import Tensor, nn

from common.body.label_space import LabelSpace
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.perception.output import CERTAINTIES, certainty_of_features
from sender.semantics.crop_labels import ENTRIES, pose_entries

ERRORS_NAME: Final = "pose_errors"
ERRORS_KIND: Final = "pose-errors-linear-1"
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

    @classmethod
    def load(cls) -> Self:
        """With the weights of the package; raises WeightsError where they are missing or of another version."""
        head = cls(PoseErrors.load(), LabelSpace.load())
        head.eval()
        return head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        log_sigma: Tensor = self.errors(certainty_of_features(features))
        return pose_entries(self.space, features), log_sigma.clamp(*_LOG_SIGMA_RANGE).exp()
