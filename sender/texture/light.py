"""The light on a person, estimated from pictures of them, so that it can be divided out of their colours.

A pixel shows c = a · g(n): the colour a of the surface times the shading g, which depends on the normal n.  Low-order
spherical harmonics describe it well for matt surfaces (Ramamoorthi and Hanrahan, 2001, "An Efficient Representation for
Irradiance Environment Maps").  As the surface's colour is unknown too, each body region is taken to have one colour on
average; what regions have in common is then the light.  Colours are not linear, but a power of a product is the product
of the powers: g is fitted to the colours as they are.

The first order is enough: the second one explained patterns of clothes as often as light, and was no better on
rendered people.  How bright the light is cannot be separated from how bright the person is: the mean shading of what is
seen is taken to be the same in all pictures.
"""

import numpy as np

from common.arrays import Float64Array, FloatArray, IntArray

_TERMS = 4
# Weight of one observation in the next one's sums: the light of a room changes slowly.
_MEMORY = 0.96
# Pulls the shading towards 1: relative weight of a person's mean brightness against what the regions show.
_RIDGE = np.array([0.0, 0.02, 0.02, 0.02])
# Patterns and other colours within a region, not shading.
_MIN_RATIO, _MAX_RATIO = 0.45, 1.8
_MIN_SHADING, _MAX_SHADING = 0.6, 1.5
# Brightness of what is seen, relative to its colour: 0.84 on rendered people, 1 if pictures were taken as they are.
_MEAN_SHADING = 0.92
# Texels of one observation that are enough for the fit, and that a region needs.
_SAMPLES = 4096
_MIN_REGION_SAMPLES = 24
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class LightEstimate:
    """The light on one person in front of one camera."""

    def __init__(self) -> None:
        self._gram = np.zeros((_TERMS, _TERMS))
        self._moment = np.zeros(_TERMS)
        self._coefficients: Float64Array = np.eye(_TERMS)[0]

    def observe(self, colours: FloatArray, normals: FloatArray, region: IntArray, weights: FloatArray) -> None:
        """Fits the light to one observation more.

        Args:
            colours: (N, 3) RGB 0…255 of the visible surface.
            normals: (N, 3) unit normals, camera space.
            region: (N,) body region.
            weights: (N,) of the observations.
        """
        step = max(1, len(colours) // _SAMPLES)
        ratio, weight = _ratios(colours[::step] @ _LUMA, region[::step], weights[::step])
        if not weight.any():
            return
        weight = weight / weight.sum()
        basis = harmonics(normals[::step]).astype(np.float64)
        self._gram = _MEMORY * self._gram + (basis * weight[:, None]).T @ basis
        self._moment = _MEMORY * self._moment + (basis * weight[:, None]).T @ ratio
        total = self._gram[0, 0]
        # Relative to even light, so that the ridge pulls towards it.
        even = np.eye(_TERMS)[0]
        difference = np.linalg.solve(self._gram + total * np.diag(_RIDGE + 1e-9), self._moment - self._gram @ even)
        self._coefficients = even + difference

    def shading(self, normals: FloatArray) -> FloatArray:
        """(N,) brightness of surfaces with unit normals (N, 3), camera space, relative to their colours."""
        even, *directed = self._coefficients.astype(np.float32)
        shading = even + normals @ np.array(directed)
        return np.asarray(_MEAN_SHADING * np.clip(shading, _MIN_SHADING, _MAX_SHADING), np.float32)


def harmonics(normals: FloatArray) -> FloatArray:
    """(N, 4) real spherical harmonics of unit normals (N, 3) up to the first order, without constant factors."""
    return np.column_stack([np.ones(len(normals), np.float32), normals])


def _ratios(luma: FloatArray, region: IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Brightness (N,) relative to the mean of the region, and weights (N,) that are 0 where it says nothing."""
    weight = weights.copy()
    ratio = np.ones_like(luma)
    # The second pass leaves out what the first found to be of another colour.
    for _ in range(2):
        count = np.bincount(region, weights=weight > 0)
        mean = np.bincount(region, weights=weight * luma) / np.maximum(np.bincount(region, weights=weight), 1e-6)
        ratio = (luma / np.maximum(mean[region], 1.0)).astype(np.float32)
        usable = (ratio > _MIN_RATIO) & (ratio < _MAX_RATIO) & (count[region] >= _MIN_REGION_SAMPLES)
        weight = np.where(usable, weight, 0).astype(np.float32)
    return ratio, weight
