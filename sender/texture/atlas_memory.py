"""The texture atlas of one person, averaged over observations."""

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray
from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import AtlasLayout, Texture
from sender.texture.atlas_view import AtlasView
from sender.texture.light import LightEstimate

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
