"""Options of the surface reconstruction."""

from dataclasses import dataclass

from common.io.options import option

LEAST_RESOLUTION, LARGEST_RESOLUTION = 24, 512


@dataclass(frozen=True, slots=True)
class SurfaceConfig:
    """Settings of the surface reconstruction.

    Args:
        normal_sigma_voxels: standard deviation of the Gaussian that smooths the normals, besides the splat's own 0.5;
            larger values suppress noise and merge fingers.
    """

    grid_resolution: int = option(80, help="grid nodes along the person's longest side")
    adaptive_resolution: bool = option(True, help="fewer grid nodes for small people, or several in a picture")
    grid_padding: int = option(4, help="empty grid nodes on every side")
    normal_sigma_voxels: float = option(0.0, help="Gaussian that smooths the normals: standard deviation, voxels")
    taubin_iterations: int = option(2, help="pairs of smoothing steps on the mesh")
    fft_workers: int = option(1, help="threads of the Poisson solver's FFT")

    def __post_init__(self) -> None:
        if not LEAST_RESOLUTION <= self.grid_resolution <= LARGEST_RESOLUTION:
            raise ValueError(f"grid-resolution must lie in 24…512, got {self.grid_resolution}")
        if not 2 <= self.grid_padding <= (self.grid_resolution - 16) // 2:
            largest = (self.grid_resolution - 16) // 2
            raise ValueError(f"grid-padding must lie in 2…{largest}, got {self.grid_padding}")
        if not 0.0 <= self.normal_sigma_voxels <= 8.0:
            raise ValueError(f"normal-sigma-voxels must lie in 0…8, got {self.normal_sigma_voxels}")
        if not 0 <= self.taubin_iterations <= 100:
            raise ValueError(f"taubin-iterations must lie in 0…100, got {self.taubin_iterations}")
        if self.fft_workers < 1:
            raise ValueError(f"fft-workers must be at least 1, got {self.fft_workers}")
