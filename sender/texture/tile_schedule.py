"""Which tiles of a person's texture atlas are sent, and when: those that improve most, for each byte, what viewers see.

The sender knows what the receiver has, and so how far each texel is from the colour it should have.  For every tile it
estimates by how much that error would fall and how many bytes that takes.  Tiles with the largest gain a byte come
first; a tile whose next kilobyte gains less than a just noticeable difference is not sent.  So a finer tile than the
camera resolves never is: it differs little from a coarser one.
"""

import cv2
import numpy as np

from common.arrays import FloatArray
from common.blobs import TextureCodec
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.texture.atlas import AtlasLayout
from common.texture.atlas_tiles import LEVEL_SIZES, TILES, WITHDRAWN, Tile, encode_level, reduced
from common.texture.hole_filling import filled
from sender.texture.atlas_memory import AtlasMemory

# Every so many texels, errors are measured.
_SAMPLE_STEP = 5
# Error of a texel of which the receiver knows nothing and estimates the colour, 0…255.
_UNKNOWN_ERROR = 20.0
# Errors that nobody sees.
_INVISIBLE = 2.0
# Error that coding adds.
_CODING_ERROR = 2.0
# A tile is sent if a kilobyte lowers the mean error of the whole body by so much, 0…255.
_LEAST_GAIN = 0.35
# Viewers look at faces.
_HEAD_WEIGHT = 3.0
_BYTES_OF_TILE = 40.0
_BYTES_OF_TEXEL = (0.12, 0.12, 0.11, 0.08)
_FIRST_INTERVAL, _INTERVAL_GROWTH, _MAX_INTERVAL = 3, 2, 96
_BURST_BYTES, _BYTES_PER_OBSERVATION = 3500.0, 333.0
_LEVELS = (1, 2, 3)
_MASK_SIGMA = 2.0
_FINEST = len(LEVEL_SIZES) - 1


class TileSchedule:
    def __init__(
        self, layout: AtlasLayout, memory: AtlasMemory, area: FloatArray, codec: TextureCodec = "learned"
    ) -> None:
        self._layout, self._memory, self._codec = layout, memory, codec
        samples = np.arange(0, len(layout.texel), _SAMPLE_STEP)
        rows, columns = np.divmod(layout.texel[samples].astype(np.int64), ATLAS_SIZE)
        self._samples, self._rows, self._columns = samples, rows, columns
        weight = area[samples] * np.where(np.isin(layout.region[samples], _HEAD), _HEAD_WEIGHT, 1.0)
        self._weight = weight / weight.sum()
        self._tile_of = {level: self._tiles(level) for level in _LEVELS}
        # What the receiver has of each level.
        count = len(samples)
        self._shown = np.zeros((count, 3), np.float32)
        self._level = np.full(count, -1)
        self._versions = dict.fromkeys(TILES, 0)
        self._due = dict.fromkeys(TILES, 0)
        self._bytes_of_texel = {tile: _BYTES_OF_TEXEL[tile.level] for tile in TILES}
        self._observations = 0
        self._allowed = _BURST_BYTES
        self._plan: list[Tile] = []
        self._snapshot: _Snapshot | None = None

    def _tiles(self, level):
        """(N,) index into TILES"""
        first = next(i for i, tile in enumerate(TILES) if tile.level == level)
        side = LEVEL_SIZES[level] // min(128, LEVEL_SIZES[level])
        each = ATLAS_SIZE // side
        return first + self._rows // each * side + self._columns // each

    def observed(self) -> None:
        self._observations += 1
        self._allowed = min(self._allowed + _BYTES_PER_OBSERVATION, _BURST_BYTES)
        self._plan = []
        if self._observations < _FIRST_INTERVAL or not self._memory.known.any():
            return
        snapshot = self._snapshot = _Snapshot(self._layout, self._memory)
        if not any(self._versions.values()):
            self._plan = [t for t in TILES if t.level == _LEVELS[0]]
            return
        known = snapshot.known_texels[self._samples]
        colours = self._memory.means[self._samples]
        now = np.where(self._level >= 0, _error(colours, self._shown), _UNKNOWN_ERROR)
        gains, sizes = {}, {}
        for level in _LEVELS:
            after = (
                np.hypot(_error(colours, snapshot.at_level(level, self._rows, self._columns)), _CODING_ERROR)
                if level < _FINEST
                else np.full(len(now), _CODING_ERROR)
            )
            visible = known & (self._level <= level)
            gain = np.where(visible, (_seen(now) - _seen(after)) * self._weight, 0)
            tiles = self._tile_of[level]
            per = np.bincount(tiles, gain, minlength=len(TILES))
            many = (
                np.bincount(tiles, known, minlength=len(TILES)) * _SAMPLE_STEP / (ATLAS_SIZE // LEVEL_SIZES[level]) ** 2
            )
            for i in np.unique(tiles):
                t = TILES[i]
                gains[t] = per[i]
                sizes[t] = _BYTES_OF_TILE + self._bytes_of_texel[t] * many[i]
        rate = {t: 1000 * gains[t] / sizes[t] for t in gains}
        chosen = []
        for coarse in (t for t in TILES if t.level == 2):
            fine = [t for t in TILES if t.level == 3 and t.row // 2 == coarse.row and t.column // 2 == coarse.column]
            fine = [t for t in fine if rate[t] >= _LEAST_GAIN]
            extra = sum(sizes[t] for t in fine) - sizes[coarse]
            more = sum(gains[t] for t in fine) - gains[coarse]
            if fine and (extra <= 0 or 1000 * more / extra >= _LEAST_GAIN) and more > 0:
                chosen += fine
            elif rate[coarse] >= _LEAST_GAIN:
                chosen.append(coarse)
        chosen = [t for t in chosen if self._due[t] <= self._observations]
        chosen.sort(key=lambda t: -rate[t])
        self._plan = chosen

    def next(self) -> tuple[Tile, bytes] | None:
        if not self._plan or self._snapshot is None:
            return None
        tile = self._plan[0]
        if self._allowed <= 0:
            return None
        self._plan = self._plan[1:]
        data = self._snapshot.encoded(tile, self._codec)
        self._allowed -= len(data)
        self._mark(tile, len(data))
        return tile, data

    def _mark(self, tile: Tile, size: int) -> None:
        at = np.flatnonzero(self._tile_of[tile.level] == TILES.index(tile))
        snapshot = self._snapshot
        known = snapshot.known_texels[self._samples[at]]
        chosen = at[known & (self._level[at] <= tile.level)]
        if tile.level < _FINEST:
            self._shown[chosen] = snapshot.at_level(tile.level, self._rows[chosen], self._columns[chosen])
        else:
            self._shown[chosen] = snapshot.means[self._samples[chosen]]
        self._level[chosen] = tile.level
        many = known.sum() * _SAMPLE_STEP / (ATLAS_SIZE // LEVEL_SIZES[tile.level]) ** 2
        if many > 200:
            self._bytes_of_texel[tile] = max(size - _BYTES_OF_TILE, 1) / many
        self._due[tile] = self._observations + min(
            _FIRST_INTERVAL * _INTERVAL_GROWTH ** (self._versions[tile] + 1), _MAX_INTERVAL
        )
        self._versions[tile] += 1

    def withdrawals(self) -> list[tuple[Tile, bytes]]:
        return [(tile, WITHDRAWN) for tile in TILES if self._versions[tile]]


class _Snapshot:
    def __init__(self, layout, memory):
        self.means = memory.means.copy()
        self.known_texels = memory.known
        colours = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
        colours[layout.texel] = np.rint(self.means.clip(0, 255))
        known = np.zeros(ATLAS_SIZE**2, np.uint8)
        known[layout.texel] = self.known_texels
        self.colours = colours.reshape(ATLAS_SIZE, ATLAS_SIZE, 3)
        self.known = known.reshape(ATLAS_SIZE, ATLAS_SIZE) > 0
        extended = layout.extended(known.reshape(ATLAS_SIZE, ATLAS_SIZE, 1))[..., 0]
        self.mask = extended > 0
        if _MASK_SIGMA:
            self.mask = cv2.GaussianBlur(extended.astype(np.float32), (0, 0), _MASK_SIGMA) > 0.5
        self._reduced = {}

    def at_level(self, level, rows, columns):
        if level not in self._reduced:
            scale = ATLAS_SIZE // LEVEL_SIZES[level]
            c, k = reduced(self.colours, self.known, scale)
            self._reduced[level] = np.asarray(filled(c, k), np.float32)
        image = self._reduced[level]
        scale = ATLAS_SIZE // LEVEL_SIZES[level]
        x = ((columns + 0.5) / scale - 0.5).astype(np.float32)
        y = ((rows + 0.5) / scale - 0.5).astype(np.float32)
        out = np.zeros((len(x), 3), np.float32)
        for s in range(0, len(x), 32000):
            out[s : s + 32000] = cv2.remap(
                image, x[s : s + 32000, None], y[s : s + 32000, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )[:, 0]
        return out

    def encoded(self, tile, codec):
        c, k = reduced(self.colours[tile.area], self.known[tile.area], tile.scale)
        _, m = reduced(self.colours[tile.area], self.mask[tile.area], tile.scale)
        return encode_level(tile, filled(c, k), m, codec)


def _error(a, b):
    return np.abs(a - b) @ np.full(3, 1 / 3, np.float32)


def _seen(e):
    return np.maximum(e - _INVISIBLE, 0)


_HEAD = [REGION_INDEX["face"]]
