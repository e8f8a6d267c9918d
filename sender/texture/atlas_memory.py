"""The texture atlas of one person, averaged over observations, and the tiles of it that are worth sending."""

from collections.abc import Iterator

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.blobs import TextureCodec
from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import AtlasLayout, Texture
from common.texture.atlas_tiles import LEVEL_SIZES, TILES, WITHDRAWN, Tile, encode
from sender.texture.atlas_view import AtlasView
from sender.texture.light import LightEstimate

# Observations that a texel's mean covers, because light and clothing change.
_MEMORY_OBSERVATIONS = 24.0
# Weight from which a texel's colour is known: about one frontal observation.
_KNOWN_WEIGHT = 0.2
# An observation that differs this much from the mean weighs half: an occluder, or a limb that is misplaced.
_OUTLIER_DIFFERENCE = 45.0
# How much of the best observation's weight is remembered at the next one.
_BEST_MEMORY = 0.98
# Texels of a tile are changed by this much, 0…255, and a tile by this share of its texels.
_CHANGED_BY = 12.0
_CHANGED_SHARE = 0.08
# Least observations between two updates: at first, growth with every update, and limit.
_FIRST_INTERVAL = 3
_INTERVAL_GROWTH = 2
_MAX_INTERVAL = 96


class AtlasMemory:
    """The colours of one person's texels, without the light on them.

    Args:
        known_weight: from which a texel's colour is known.
        remove_light: divide the estimated shading out of what is observed.
    """

    def __init__(
        self,
        layout: AtlasLayout,
        known_weight: float = _KNOWN_WEIGHT,
        remove_light: bool = True,
        codec: TextureCodec = "webp",
    ) -> None:
        self._codec: TextureCodec = codec
        self._layout = layout
        self._known_weight = known_weight
        self._light = LightEstimate() if remove_light else None
        count = len(layout.texel)
        self._means = np.zeros((count, 3), np.float32)
        self._weights = np.zeros(count, np.float32)
        self._best = np.zeros(count, np.float32)
        self._sent = np.zeros((count, 3), np.float32)
        self._sent_known = np.zeros(count, np.bool_)
        self._tile_of_texel = layout.squares(ATLAS_SIZE // round(_FINEST_TILES**0.5))
        self._texels_of_tile = np.bincount(self._tile_of_texel, minlength=_FINEST_TILES)
        self._sent_tiles: set[Tile] = set()
        self._observations = 0
        self._interval = _FIRST_INTERVAL

    def add(self, view: AtlasView) -> None:
        self._observations += 1
        if not len(view.texels):
            return
        texels, colours = view.texels, view.colours
        if self._light is not None:
            self._light.observe(colours, view.normals, self._layout.region[texels], view.weights)
            colours = colours / self._light.shading(view.normals)[:, None]
        means, before = self._means[texels], self._weights[texels]
        difference = colours - means
        best = np.maximum(_BEST_MEMORY * self._best[texels], view.weights)
        # A view that is much worse than the best one would only blur it.
        weights = view.weights * np.square(view.weights / best)
        outlying = np.square(_largest_change(difference) / _OUTLIER_DIFFERENCE)
        weights = np.where(before >= self._known_weight, weights / (1 + outlying), weights)
        total = np.maximum((1 - 1 / _MEMORY_OBSERVATIONS) * before, np.minimum(before, self._known_weight)) + weights
        self._means[texels] = means + (weights / total)[:, None] * difference
        self._weights[texels], self._best[texels] = total, best

    @property
    def means(self) -> FloatArray:
        """(T, 3) colours of the texels, 0…255; undefined where unknown."""
        return self._means

    @property
    def known(self) -> BoolArray:
        """(T,) whether each texel's colour is known."""
        return self._weights >= self._known_weight

    @property
    def texture(self) -> Texture:
        """The atlas; colours and knowledge of texels that show no skin are those of the nearest that does."""
        values = np.zeros((ATLAS_SIZE**2, 4), np.uint8)
        values[self._layout.texel, :3] = np.rint(self._means.clip(0, 255))
        values[self._layout.texel, 3] = self.known
        extended = self._layout.extended(values.reshape(ATLAS_SIZE, ATLAS_SIZE, 4))
        return Texture(extended[..., :3], extended[..., 3] > 0)

    def updates(self) -> Iterator[tuple[Tile, bytes]]:
        """The tiles to send, encoded one by one as they are asked for; none if it is too early, or little changed.

        The first time, the coarse levels come before the finest one; later, they are out of date wherever the finest
        has been sent.
        """
        if self._observations < self._interval:
            return iter(())
        changed = np.flatnonzero(self._changed_shares() >= _CHANGED_SHARE)
        if not len(changed):
            return iter(())
        self._observations = 0
        self._interval = min(_INTERVAL_GROWTH * self._interval, _MAX_INTERVAL)
        tiles = [TILES[number + len(TILES) - _FINEST_TILES] for number in changed.tolist()]
        if not self._sent_tiles:
            tiles = [*TILES[:-_FINEST_TILES], *tiles]
        within = np.isin(self._tile_of_texel, changed)
        self._sent[within] = self._means[within]
        self._sent_known[within] = self.known[within]
        self._sent_tiles.update(tiles)
        return self.encoded(tiles)

    def encoded(self, tiles: list[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Tiles of the present atlas, encoded one by one as they are asked for."""
        texture = self.texture
        return ((tile, encode(tile, texture.colours, texture.known, self._codec)) for tile in tiles)

    def withdrawals(self) -> list[tuple[Tile, bytes]]:
        """What takes all tiles back that `updates` has returned."""
        return [(tile, WITHDRAWN) for tile in TILES if tile in self._sent_tiles]

    def _changed_shares(self) -> FloatArray:
        """Share of the texels of each of the finest tiles that are newly known or visibly changed, 0…1."""
        known = self.known
        changed = known & (~self._sent_known | (_largest_change(self._means - self._sent) > _CHANGED_BY))
        count = np.bincount(self._tile_of_texel, weights=changed, minlength=_FINEST_TILES)
        return np.asarray(count / np.maximum(self._texels_of_tile, 1), np.float32)


def _largest_change(difference: FloatArray) -> FloatArray:
    """(N,) largest absolute value of each row (N, 3); much faster than `max` along the short axis."""
    red, green, blue = np.abs(difference).T
    return np.asarray(np.maximum(np.maximum(red, green), blue))


_FINEST_TILES = sum(tile.level == len(LEVEL_SIZES) - 1 for tile in TILES)
