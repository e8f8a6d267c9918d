"""The diffusion stage's result: oriented points of one person."""

from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Oriented points of one person's surface.

    Args:
        points: (2048, 3) metres; row i is the same place of the body template in every cloud.
        normals: (2048, 3) outward unit normals.
        colours: (2048, 3) in 0…1, or None where no `appearance` arrived.
    """

    points: FloatArray
    normals: FloatArray
    colours: FloatArray | None = None

    def placed(self, orientation: FloatArray, translation: FloatArray) -> "PointCloud":
        """From the person's root frame into camera space: rotated by (3, 3), then moved by (3,) metres."""
        turn = np.asarray(orientation, dtype=np.float32)
        points = self.points @ turn.T + np.asarray(translation, dtype=np.float32)
        return PointCloud(points, self.normals @ turn.T, self.colours)
