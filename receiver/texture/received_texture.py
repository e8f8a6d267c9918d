"""The tiles of a person's texture atlas that have arrived, and the atlas that they make up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import LEVEL_SIZES, Texture, Tile, decode

_FINEST = len(LEVEL_SIZES) - 1


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedTexture:
    """The tiles of one person; a new object for every change, so that what depends on it can be cached.

    Args:
        tiles: colours (n, n, 3) and known texels (n, n) of each tile that has arrived.
        person: the same for all that arrives of one person.

    The atlas of the coarse levels is computed when it is first needed.
    """

    tiles: Mapping[Tile, tuple[ByteArray, BoolArray]] = field(default_factory=dict)
    _coarse: list[Texture] = field(default_factory=list, repr=False)
    person: object = field(default_factory=object, repr=False)

    def with_tile(self, tile: Tile, data: bytes) -> Self:
        """With a tile in place of an earlier one; without it, if it is withdrawn. Raises MalformedPacket."""
        decoded = decode(tile, data)
        tiles = {other: content for other, content in self.tiles.items() if other != tile}
        # Most tiles are of the finest level, and what is below it need not be enlarged again.
        coarse = self._coarse if tile.level == _FINEST else []
        return type(self)(tiles if decoded is None else {**tiles, tile: decoded}, coarse, self.person)

    def texture(self) -> Texture:
        """The atlas: at each texel, the colour of the finest tile that knows it."""
        if not self._coarse:
            self._coarse.append(self._of_coarse_levels())
        colours, known = self._coarse[0].colours.copy(), self._coarse[0].known.copy()
        for tile, (finer, finer_known) in self.tiles.items():
            if tile.level == _FINEST:
                colours[tile.area] = cv2.copyTo(finer, finer_known.astype(np.uint8), colours[tile.area].copy())
                known[tile.area] |= finer_known
        return Texture(colours, known)

    def _of_coarse_levels(self) -> Texture:
        colours = np.zeros((ATLAS_SIZE, ATLAS_SIZE, 3), np.uint8)
        known = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.uint8)
        for level in sorted({tile.level for tile in self.tiles} - {_FINEST}):
            finer, finer_known = self._enlarged(level)
            cv2.copyTo(finer, finer_known, colours)
            known |= finer_known
        return Texture(colours, known.astype(np.bool_))

    def _enlarged(self, level: int) -> tuple[ByteArray, ByteArray]:
        """Colours (S, S, 3) and a mask (S, S), 0 or 1, of the known texels of one level, at the size of the atlas."""
        size = LEVEL_SIZES[level]
        colours, known = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
        for tile in (tile for tile in self.tiles if tile.level == level):
            rows, columns = (slice(place * tile.size, (place + 1) * tile.size) for place in (tile.row, tile.column))
            colours[rows, columns], known[rows, columns] = self.tiles[tile]
        side = (ATLAS_SIZE, ATLAS_SIZE)
        mask = cv2.resize(known, side, interpolation=cv2.INTER_NEAREST)
        # Channel by channel, which is five times as fast as along the short axis.
        shares, *sums = (
            cv2.resize(plane.astype(np.float32), side, interpolation=cv2.INTER_LINEAR)
            for plane in (known, *(plane * known for plane in cv2.split(colours)))
        )
        shares = np.maximum(shares, 1e-3)
        means = cv2.merge([cv2.divide(each, shares, dtype=cv2.CV_8U) for each in sums])
        return np.asarray(means, np.uint8), np.asarray(mask, np.uint8)
