"""The colours of a person from many views: what each shows of the atlas, in the same light, and their mean.

A pixel shows c = a · g(n): the colour a of the surface times the shading g, which depends on the normal n.  Low-order
spherical harmonics describe it well for matt surfaces (Ramamoorthi and Hanrahan, 2001, "An Efficient Representation for
Irradiance Environment Maps").  Here they describe its logarithm: what multiplies becomes a sum, and the factor is
positive.  As the surface's colour is unknown too, two things are taken to be true on average.  Each body region has one
colour: what regions have in common is then the light.  Mirror points, such as those of both cheeks, have the same
colour, whatever it is: how they differ is then the light, too.

How bright the light is cannot be separated from how bright the person is: the mean shading of what is seen is taken to
be the same in all pictures.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from scipy import sparse

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, Image, Int32Array, IntArray
from common.body.anatomy import ATLAS_SIZE, REGIONS
from common.body.triangles import VertexNormals
from common.frames import Camera
from common.texture.atlas import AtlasLayout, Texture
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput

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


# Nearer points are ignored.
_MIN_DEPTH_M = 0.1
# At a smaller cosine, the pixel at a point shows its neighbours, too.
_MIN_COSINE = 0.25
# Cell of the depth map: about the distance between points, so that points splatted on 3 × 3 cells leave no hole.
_CELL_M = 0.025
# A point is hidden by others that are nearer by more than this, plus what an oblique surface spans in a cell.
_MARGIN_M = 0.03
_MARGIN_CELLS = 1.5
_MAX_CELLS = 512


def view_cosine(points: FloatArray, normals: FloatArray, camera: Camera) -> FloatArray:
    """(N,) cosine between each point's normal and the direction to the camera; 0 for points that are not visible.

    A point is not visible if it faces away, is outside the image or behind the camera, or is hidden by other points.

    Args:
        points: (N, 3) of a closed surface, camera space, metres.
        normals: (N, 3) outward unit normals.
    """
    x, y, depth = np.ascontiguousarray(points.T)
    # Component by component, which is several times faster than along the short axis.
    across, down, along = np.ascontiguousarray(normals.T)
    distance = np.sqrt(np.maximum(x * x + y * y + depth * depth, 1e-12))
    cosine = -(x * across + y * down + depth * along) / distance
    pixels = np.ascontiguousarray(camera.project(points).T)
    deep = depth > _MIN_DEPTH_M
    inside = (pixels[0] >= 0) & (pixels[1] >= 0) & (pixels[0] < camera.width) & (pixels[1] < camera.height) & deep
    # Points that face away need not occlude: on a closed surface, nearer points that face the camera do so already.
    occluders = np.flatnonzero((cosine > 0) & deep)
    candidates = np.flatnonzero(inside & (cosine > _MIN_COSINE))
    if not len(candidates):
        return np.zeros(len(points), np.float32)
    nearest = _nearest_depth(depth, pixels, occluders, candidates, camera)
    seen = cosine[candidates]
    slope = np.sqrt(1 - np.square(np.minimum(seen, 1))) / seen
    visible = depth[candidates] < nearest + _MARGIN_M + _MARGIN_CELLS * _CELL_M * slope
    result = np.zeros(len(points), np.float32)
    result[candidates] = np.where(visible, seen, 0)
    return result


def _nearest_depth(
    depth: FloatArray,
    pixels: FloatArray,
    occluders: IntArray,
    candidates: IntArray,
    camera: Camera,
) -> FloatArray:
    """(len(candidates),) depth of the nearest occluder in the 3 × 3 cells around each candidate, metres.

    Args:
        depth: (N,) of all points.
        pixels: (2, N).
    """
    cell_px = _CELL_M * camera.focal_px / float(np.median(depth[candidates]))
    corner = pixels[:, candidates].min(axis=1, keepdims=True) - cell_px
    extent = pixels[:, candidates].max(axis=1, keepdims=True) + cell_px - corner
    cell_px = max(cell_px, float(extent.max()) / _MAX_CELLS)
    columns, rows = (int(np.ceil(side / cell_px)) + 1 for side in extent[:, 0])
    # Points far beyond the image would leave the range of integers.
    x, y = np.floor((pixels - corner) / cell_px).clip(-1, _MAX_CELLS + 3).astype(np.int64)
    occluders = occluders[((x >= 0) & (x < columns) & (y >= 0) & (y < rows))[occluders]]
    cell = y * columns + x
    depth_map = np.full(rows * columns, np.inf, np.float32)
    np.minimum.at(depth_map, cell[occluders], depth[occluders])
    depth_map = np.asarray(cv2.erode(depth_map.reshape(rows, columns), np.ones((3, 3), np.uint8)), np.float32)
    return np.asarray(depth_map.ravel()[cell[candidates]])


# Side of the mask of the crop, to which the network's is enlarged.
_MASK_SIZE_PX = 192
# Sides of the kernels that erode the mask.  A cell of the mask is 3 pixels wide: the first third of a cell within the
# outline is ignored, and the second, where masks are often wrong, gets less weight.  More is not ignored, because only
# the outline shows the sides of arms and legs.
_IGNORED_KERNEL_PX, _UNCERTAIN_KERNEL_PX = 3, 5
_UNCERTAIN_WEIGHT = 0.25
# A pixel gives no colour to regions of a lower probability.
_MIN_REGION_PROBABILITY = 0.35
_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One person in one frame; image positions in crop units, 0…1.

    Args:
        crop: the part of the frame.
        mask_weight: (S, S) weight of each pixel, 0…1: 1 on the person, less near the outline, 0 on the background.
        regions: (R, s, s) probability of each body region, 0…1; 0 where it is below `_MIN_REGION_PROBABILITY`.
    """

    crop: CropBox
    mask_weight: FloatArray
    regions: FloatArray

    @classmethod
    def from_output(cls, crop: CropBox, output: PerceptionOutput) -> Self:
        """From perception's output in `crop`."""
        probability = output.part_logits[0].float().softmax(dim=0)[1:].numpy()
        regions = np.where(probability >= _MIN_REGION_PROBABILITY, probability, 0).astype(np.float32)
        weight = mask_weight(output.mask_logits[0].float().numpy())
        return cls(crop, weight, regions)

    def weight_at(self, pixels: FloatArray, region: IntArray) -> FloatArray:
        """(N,) weight of (N, 2) pixels of the frame as observations of the regions (N,), 0…1."""
        # A region extends one cell into its neighbours, whose border is not known better than that.
        regions = np.stack([cv2.dilate(one, _NEIGHBOURS) for one in self.regions])
        positions = self.crop.to_units(pixels)
        x, y = _cells(positions, regions.shape[-1])
        column, row = _cells(positions, len(self.mask_weight))
        weight = self.mask_weight[row, column] * regions[region, y, x]
        # Much faster than `all` along the short axis.
        across, down = ((positions >= 0) & (positions < 1)).T
        return np.where(across & down, weight, 0).astype(np.float32)


def mask_weight(logits: FloatArray) -> FloatArray:
    """(S, S) weights, 0…1, from mask logits (s, s)."""
    mask = cv2.resize(logits, (_MASK_SIZE_PX, _MASK_SIZE_PX), interpolation=cv2.INTER_LINEAR) > 0
    # `erode` takes the outside of the crop for person, so that a person who is cut off has no outline at the border.
    not_ignored, certain = (
        cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8))
        for side in (_IGNORED_KERNEL_PX, _UNCERTAIN_KERNEL_PX)
    )
    return np.where(certain, 1, not_ignored * _UNCERTAIN_WEIGHT).astype(np.float32)


def _cells(positions: FloatArray, size: int) -> IntArray:
    """(2, N) column and row of the cells of a size × size grid that contain (N, 2) positions, 0…1."""
    return np.clip(np.floor(positions * size), 0, size - 1).astype(np.int64).T


# Pixels along a side of the crop that colours are taken from; a larger one is reduced, which averages over pixels.
_MAX_IMAGE_SIZE_PX = 1024
# Size of a texel on the body: at a coarser pixel, an observation is less sharp and weighs less.
_TEXEL_M = 0.003
_MIN_SHARPNESS = 0.15
_ROW = 256


@dataclass(frozen=True, slots=True, eq=False)
class AtlasView:
    """N visible texels of one person in one frame.

    Args:
        texels: (N,) positions among the layout's texels.
        colours: (N, 3) RGB 0…255, as the frame shows them.
        weights: (N,) above 0 and up to 1: how well each texel is seen.
        normals: (N, 3) approximate unit normals, camera space.
    """

    texels: IntArray
    colours: FloatArray
    weights: FloatArray
    normals: FloatArray


class AtlasCamera:
    """Takes `AtlasView`s.

    Args:
        faces: (F, 3) triangles of the body, of which the layout's `face` are indices.
        region: (V,) body region of each vertex.
    """

    def __init__(self, layout: AtlasLayout, faces: IntArray, region: IntArray) -> None:
        self.layout = layout
        self._corners_of_faces = np.ascontiguousarray(faces.T)
        self._region = region
        self._normals = VertexNormals(faces, len(region))
        self._starts = np.arange(0, layout.corners.size + 1, 3, dtype=np.int32)

    def view(
        self,
        frame: Image,
        crop: CropBox,
        observation: Observation,
        vertices: FloatArray,
        camera: Camera,
        hidden: IntArray | None = None,
    ) -> AtlasView:
        """The texels that a frame shows.

        Args:
            frame: (H, W, 3) uint8 RGB.
            crop: the person's part of it.
            observation: says which pixels show the person, and which body regions.
            vertices: (V, 3) of the posed body, camera space, metres.
            hidden: indices of vertices that are not seen for another reason than the body tells.
        """
        normals = self._normals(vertices)
        pixels = camera.project(vertices)
        weights = np.square(view_cosine(vertices, normals, camera))
        weights *= observation.weight_at(pixels, self._region)
        sharpness = _TEXEL_M * camera.focal_px / np.maximum(vertices[:, 2], _TEXEL_M)
        weights *= np.square(np.clip(sharpness, _MIN_SHARPNESS, 1))
        if hidden is not None:
            weights[hidden] = 0
        # A triangle with a corner that is not seen may be seen in part only.
        positive = np.asarray(weights > 0)
        first, second, third = (positive[corners] for corners in self._corners_of_faces)
        texels = np.flatnonzero((first & second & third)[self.layout.face])
        at_texels = self._of_texels(texels) @ np.column_stack([pixels, weights, normals])
        return AtlasView(texels, _colours(frame, crop, at_texels[:, :2]), at_texels[:, 2], at_texels[:, 3:])

    def _of_texels(self, texels: IntArray) -> sparse.csr_array:
        """(N, V): values of texels from those of the vertices."""
        corners, barycentric = (each.take(texels, axis=0) for each in (self.layout.corners, self.layout.barycentric))
        parts = (barycentric.ravel(), corners.ravel(), self._starts[: len(texels) + 1])
        return sparse.csr_array(parts, shape=(len(texels), len(self._region)))


def _colours(frame: Image, crop: CropBox, pixels: FloatArray) -> FloatArray:
    """(N, 3) colours of a frame at (N, 2) pixels within the crop."""
    size = min(crop.side, _MAX_IMAGE_SIZE_PX)
    image = crop.cut(frame, size)
    at = np.asarray(crop.to_units(pixels) * size - 0.5, np.float32)
    # OpenCV maps at most 32,767 rows at once, and at least one.
    grid = np.zeros((len(at) // _ROW + 1, _ROW, 2), np.float32)
    grid.reshape(-1, 2)[: len(at)] = at
    colours = cv2.remap(
        image, grid[..., 0].copy(), grid[..., 1].copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(colours.reshape(-1, 3)[: len(at)], np.float32)


# Observations that a texel's mean covers, because light and clothing change.
_MEMORY_OBSERVATIONS = 24.0
# Weight from which a texel's colour is known: about one frontal observation.
_KNOWN_WEIGHT = 0.2
# An observation that differs this much from the mean weighs half: an occluder, or a limb that is misplaced.
_OUTLIER_DIFFERENCE = 45.0
# An occluder, or a misplaced limb, covers less than this share of what is seen. Where more is unlike the memory in so
# many observations in a row, the memory was wrong: a camera that was just switched on, other light or clothes. They are
# more, up to a limit, the more had agreed before: one for each so many.
_CONTRADICTED_SHARE, _LEAST_CONTRADICTIONS, _MOST_CONTRADICTIONS, _TRUSTED = 0.5, 3, 12, 4
# How much of the best observation's weight is remembered at the next one.
_BEST_MEMORY = 0.98


class AtlasMemory:
    """The colours of one person's texels, without the light on them.

    Args:
        known_weight: from which a texel's colour is known.
        remove_light: divide the estimated shading out of what is observed.

    Attributes:
        restarts: how often colours were given up because observations contradicted them.
    """

    def __init__(
        self,
        layout: AtlasLayout,
        known_weight: float = _KNOWN_WEIGHT,
        remove_light: bool = True,
    ) -> None:
        self._layout = layout
        self._known_weight = known_weight
        self._light = LightEstimate(layout.region, layout.mirror) if remove_light else None
        count = len(layout.texel)
        self._means = np.zeros((count, 3), np.float32)
        self._weights = np.zeros(count, np.float32)
        self._best = np.zeros(count, np.float32)
        self.restarts = self._agreeing = self._contradicting = 0

    def add(self, view: AtlasView) -> float:
        """Adds an observation; returns the share of it that is new: unknown or other colours, or a better view."""
        if not len(view.texels):
            return 0.0
        texels, colours = view.texels, view.colours
        if self._light is not None:
            self._light.observe(texels, colours, view.normals, view.weights)
            colours = colours / self._light.shading(view.normals)[:, None]
        means, before, best_before = (
            values.take(texels, axis=0) for values in (self._means, self._weights, self._best)
        )
        difference = colours - means
        best = np.maximum(_BEST_MEMORY * best_before, view.weights)
        known = before >= self._known_weight
        outlying = np.where(known, np.square(_largest_change(difference) / _OUTLIER_DIFFERENCE), 0)
        if self._is_contradicted(float(view.weights[outlying > 1].sum() / view.weights.sum())):
            known, best = np.zeros_like(known), view.weights
            before, outlying = np.zeros_like(before), np.zeros_like(outlying)
        # A view that is much worse than the best one would only blur it.
        weights = view.weights * np.square(view.weights / best) / (1 + outlying)
        total = np.maximum((1 - 1 / _MEMORY_OBSERVATIONS) * before, np.minimum(before, self._known_weight)) + weights
        self._means[texels] = means + (weights / total)[:, None] * difference
        self._weights[texels], self._best[texels] = total, best
        unlike = ~known | (outlying > 1)
        new = np.where(unlike, view.weights, np.maximum(view.weights - best_before, 0))
        return float(new.sum() / view.weights.sum())

    def _is_contradicted(self, share: float) -> bool:
        """Whether an observation, of which such a share is unlike the memory, is the last of enough in a row."""
        if share <= _CONTRADICTED_SHARE:
            self._agreeing, self._contradicting = self._agreeing + 1, 0
            return False
        self._contradicting += 1
        if self._contradicting < min(max(self._agreeing // _TRUSTED, _LEAST_CONTRADICTIONS), _MOST_CONTRADICTIONS):
            return False
        self._agreeing, self._contradicting, self.restarts = 0, 0, self.restarts + 1
        return True

    @property
    def means(self) -> FloatArray:
        """(T, 3) colours of the texels, 0…255; undefined where unknown."""
        return self._means

    @property
    def known(self) -> BoolArray:
        """(T,) whether each texel's colour is known."""
        return self._weights >= self._known_weight

    @property
    def picture(self) -> ByteArray:
        """(S, S, 4) the atlas: RGB, and 1 where it is known; 0 at texels that show no skin."""
        texels = np.zeros((len(self._means), 4), np.uint8)
        texels[:, :3] = cv2.convertScaleAbs(self._means)  # rounds and clips
        texels[:, 3] = self.known
        picture = np.zeros(ATLAS_SIZE**2, np.uint32)
        # Four bytes at a time.
        picture[self._layout.texel] = texels.view(np.uint32)[:, 0]
        return picture.view(np.uint8).reshape(ATLAS_SIZE, ATLAS_SIZE, 4)

    @property
    def texture(self) -> Texture:
        """The atlas; colours and knowledge of texels that show no skin are those of the nearest that does."""
        extended = self._layout.extended(self.picture)
        return Texture(extended[..., :3], extended[..., 3] > 0)


def _largest_change(difference: FloatArray) -> FloatArray:
    """(N,) largest absolute value of each row (N, 3); much faster than `max` along the short axis."""
    red, green, blue = np.abs(difference).T
    return np.asarray(np.maximum(np.maximum(red, green), blue))
