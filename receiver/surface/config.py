"""Options of the surface reconstruction."""

from dataclasses import dataclass

from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class SurfaceConfig:
    """Settings of the surface reconstruction."""

    grid_resolution: int = option(
        80,
        help="grid nodes along the person's longest side; fewer for small people, or several in a picture",
        advanced=True,
    )

    def __post_init__(self) -> None:
        if not 24 <= self.grid_resolution <= 512:
            raise ValueError(f"grid-resolution must lie in 24…512, got {self.grid_resolution}")
