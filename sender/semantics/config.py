"""Options of labels: how much bodies are smoothed."""

from dataclasses import dataclass

from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """How much labels are smoothed; the default lags a moving person by less than a frame at 30 fps."""

    smoothing: float = option(
        1.0, help="smoothing of labels over time: 0 none, larger values remove more jitter", advanced=True
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing <= 10.0:
            raise ValueError(f"--smoothing must be between 0 and 10, not {self.smoothing:g}")
