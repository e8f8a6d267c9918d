"""The light on a person, estimated from pictures of them, so that it can be divided out of their colours.

A pixel shows c = a · g(n): the colour a of the surface times the shading g, which depends on the normal n.  Low-order
spherical harmonics describe it well for matt surfaces (Ramamoorthi and Hanrahan, 2001, "An Efficient Representation for
Irradiance Environment Maps").  Here they describe its logarithm: what multiplies becomes a sum, and the factor is
positive.  As the surface's colour is unknown too, two things are taken to be true on average.  Each body region has one
colour: what regions have in common is then the light.  Mirror points, such as those of both cheeks, have the same
colour, whatever it is: how they differ is then the light, too.

How bright the light is cannot be separated from how bright the person is: the mean shading of what is seen is taken to
be the same in all pictures.
"""

import numpy as np

from common.arrays import Float64Array, FloatArray, Int32Array, IntArray
from common.body.anatomy import REGIONS

_TERMS = 9
# Weight of one observation in the next one's sums: the light of a room changes slowly.
_MEMORY = 0.96
# Pulls towards even light, relative to the weight of what is seen: the second order explains patterns as often as it
# explains light. The constant is not fitted.
_RIDGE = np.array([1.0] + 3 * [0.04] + 5 * [0.3])
# Weight of a pair of mirror points relative to a texel: it does not depend on how a region is coloured.
_PAIR_WEIGHT = 8.0
# A difference of log brightness that is not explained and weighs half: patterns, hair, and shadows that are cast.
_OUTLIER, _PASSES = 0.25, 3
# Of shading, relative to its mean: half and twice.
_LOG_LIMITS = -np.float32(np.log(2)), np.float32(np.log(2))
# Brightness of what is seen, relative to its colour: 0.84 on rendered people, 1 if pictures were taken as they are.
_MEAN_SHADING = 0.93
# Texels of one observation that are enough for the fit.
_SAMPLES = 1024
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Noise hides differences between darker colours.
_MIN_LUMA = 4.0


class LightEstimate:
    """The light on one person in front of one camera.

    Args:
        region: (T,) body region of each texel.
        mirror: (T,) which texel shows its mirror point, or −1.
    """

    def __init__(self, region: IntArray, mirror: Int32Array) -> None:
        self._region, self._mirror = region, mirror
        # Of the harmonics and, last, of log brightness.
        self._moments = np.zeros((_TERMS + 1, _TERMS + 1))
        # How many observations there are in the sums, and the sum of the mean shading in each.
        self._total = self._brightness = 0.0
        self._coefficients: Float64Array = np.zeros(_TERMS)

    def observe(self, texels: IntArray, colours: FloatArray, normals: FloatArray, weights: FloatArray) -> None:
        """Fits the light to one observation more.

        Args:
            texels: (N,) ascending, which are visible.
            colours: (N, 3) RGB 0…255 of each.
            normals: (N, 3) unit normals, camera space.
            weights: (N,) of the observations.
        """
        chosen = np.arange(0, len(texels), max(1, len(texels) // _SAMPLES))
        if not (total := float(weights[chosen].sum())):
            return
        left, right = self._pairs(texels, chosen)
        places = np.concatenate([chosen, left, right])
        each, *pair = np.split(
            _rows(colours.take(places, axis=0), normals.take(places, axis=0)), np.cumsum([len(chosen), len(left)])
        )
        rows = np.concatenate([each, pair[0] - pair[1]])
        self._total = _MEMORY * self._total + 1
        pair_weights = _PAIR_WEIGHT * np.minimum(weights[left], weights[right])
        prior = np.concatenate([weights[chosen], pair_weights]) / np.float32(total)
        # A pair has no region: its difference has no colour.
        region = np.concatenate([self._region[texels[chosen]], np.full(len(left), len(REGIONS))])
        inside = (region == np.arange(len(REGIONS))[:, None]).astype(np.float32)
        strength, moments = prior, self._moments
        for _ in range(_PASSES):
            weighted = rows * strength[:, None]
            sums = inside @ weighted
            means = sums / np.maximum(inside @ strength, 1e-9)[:, None]
            moments = _MEMORY * self._moments + weighted.T @ rows - sums.T @ means
            gram = moments[:_TERMS, :_TERMS] + self._total * np.diag(_RIDGE)
            self._coefficients = np.linalg.solve(gram, moments[:_TERMS, _TERMS])
            explains = np.append(-self._coefficients, 1).astype(np.float32)
            unexplained = rows @ explains - np.append(means @ explains, 0)[region]
            strength = prior / (1 + np.square(unexplained / _OUTLIER))
        self._moments = moments
        shading = np.exp(each[:, 1:_TERMS] @ self._coefficients[1:])
        self._brightness = _MEMORY * self._brightness + float(weights[chosen] @ shading) / total
        self._coefficients[0] = -np.log(self._brightness / self._total)

    def shading(self, normals: FloatArray) -> FloatArray:
        """(N,) brightness of surfaces with unit normals (N, 3), camera space, relative to their colours."""
        # `harmonics`, factored: they are not needed one by one.
        one, x1, y1, z1, xy, yz, xz, xx_yy, zz = self._coefficients.astype(np.float32)
        x, y, z = np.ascontiguousarray(normals.T)
        light = x * (x1 + xy * y + xz * z + xx_yy * x) + y * (y1 + yz * z - xx_yy * y) + z * (z1 + 3 * zz * z)
        light += one - zz
        shading: FloatArray = np.exp(np.clip(light, *_LOG_LIMITS, out=light), out=light)
        shading *= _MEAN_SHADING
        return shading

    def _pairs(self, texels: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
        """(P,) positions among texels (N,) of those chosen ones whose mirror point is seen, and of that point."""
        mirror = self._mirror[texels[chosen]]
        places = np.minimum(np.searchsorted(texels, mirror), len(texels) - 1)
        found = (texels[places] == mirror) & (places > chosen)
        return chosen[found], places[found]


def harmonics(normals: FloatArray) -> FloatArray:
    """(N, 9) real spherical harmonics of unit normals (N, 3) up to the second order, without constant factors."""
    x, y, z = np.ascontiguousarray(normals.T)
    terms = np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1])
    return terms.T


def _rows(colours: FloatArray, normals: FloatArray) -> FloatArray:
    """(N, 10) harmonics of the normals (N, 3), and the log brightness of the colours (N, 3)."""
    return np.column_stack([harmonics(normals), np.log(np.maximum(colours @ _LUMA, _MIN_LUMA))])
