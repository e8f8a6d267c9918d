"""The tiles of people's texture atlases that have arrived, and the atlas that they make up."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray
from common.blobs import Blob
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket, WeightsError
from common.texture.atlas import Texture
from common.texture.atlas_tiles import LEVEL_SIZES, TILES, DecodedTile, Tile, check, decode, is_learned

logger = logging.getLogger(__name__)

DecodeLater = Callable[[Tile, bytes], "asyncio.Future[DecodedTile]"]
"""Begins to decode a tile in another thread."""

# People of a session whose textures are kept, those with the newest tiles: each takes up to 2.4 MB.
_MAX_PEOPLE = 24
# Frames of a live session that share one state of a texture: a new one takes some 10 ms to paint.
_FRAMES_PER_STATE = 8
# Tiles of a session that wait to be decoded: all of everybody.
_MAX_WAITING = _MAX_PEOPLE * len(TILES)
_FINEST = len(LEVEL_SIZES) - 1


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedTexture:
    """The tiles of one person; a new object for every change, so that what depends on it can be cached.

    Args:
        tiles: colours (n, n, 3) and known texels (n, n) of each tile that has arrived.

    The atlas of the coarse levels is computed when it is first needed.
    """

    tiles: Mapping[Tile, tuple[ByteArray, BoolArray]] = field(default_factory=dict)
    _coarse: list[Texture] = field(default_factory=list, repr=False)

    def with_tile(self, tile: Tile, data: bytes) -> Self:
        """With a tile that has arrived, in place of an earlier one; without it, if it is withdrawn.

        Raises:
            MalformedPacket: it does not decode.
        """
        return self.with_decoded(tile, decode(tile, data))

    def with_decoded(self, tile: Tile, decoded: DecodedTile) -> Self:
        """The same with a tile that is decoded."""
        tiles = {other: content for other, content in self.tiles.items() if other != tile}
        # Most tiles are of the finest level, and what is below it need not be enlarged again.
        coarse = self._coarse if tile.level == _FINEST else []
        return type(self)(tiles if decoded is None else {**tiles, tile: decoded}, coarse)

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
        enlarged = (ATLAS_SIZE, ATLAS_SIZE)
        mask = cv2.resize(known, enlarged, interpolation=cv2.INTER_NEAREST)
        weighted = np.dstack([colours * known[..., None], known]).astype(np.float32)
        weighted = np.asarray(cv2.resize(weighted, enlarged, interpolation=cv2.INTER_LINEAR), np.float32)
        means = weighted[..., :3] / np.maximum(weighted[..., 3:], 1e-3)
        return np.rint(means).clip(0, 255).astype(np.uint8), np.asarray(mask, np.uint8)


def decode_in_thread(tile: Tile, data: bytes) -> "asyncio.Future[DecodedTile]":
    """A `DecodeLater` for a program with one session."""
    return asyncio.get_running_loop().run_in_executor(None, decode, tile, data)


@dataclass(slots=True)
class _WaitingTile:
    """A tile that is being decoded, or waits for one before it."""

    tile: Tile
    identity: int
    decoded: "asyncio.Future[DecodedTile]"


class ReceivedTextures:
    """The textures of a session's people.

    Args:
        decode_later: decodes tiles that take long, while frames go on without them; without it, `take` decodes.
    """

    def __init__(self, decode_later: DecodeLater | None = None) -> None:
        self._decode_later = decode_later
        self._waiting: deque[_WaitingTile] = deque()
        self._newest: dict[int, ReceivedTexture] = {}
        self._used: dict[int, ReceivedTexture] = {}
        self._frames = 0

    def take(self, blob: Blob) -> None:
        """Takes a tile of the kind `TEXTURE`.

        Raises:
            MalformedPacket: it does not decode, or its key is out of range.  A tile that is decoded later is dropped
                with a log line instead.
        """
        tile, identity = Tile.of_key(blob.key)
        check(blob.data)
        self._take_decoded()
        if self._decode_later is None or not (self._waiting or is_learned(blob.data)):
            self._place(tile, identity, decode(tile, blob.data))
            return
        # Tiles take effect in the order of their arrival, so a quick one behind a slow one waits too.
        self._waiting.append(_WaitingTile(tile, identity, self._decode_later(tile, blob.data)))
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft().decoded.cancel()

    async def decoded(self) -> None:
        """Waits until all tiles that have arrived are decoded."""
        if self._waiting:
            await asyncio.wait([each.decoded for each in self._waiting])
            self._take_decoded()

    def close(self) -> None:
        """Gives up tiles that are not decoded."""
        for waiting in self._waiting:
            if not waiting.decoded.cancel() and not waiting.decoded.cancelled():
                # asyncio complains about failures that nobody has asked for.
                waiting.decoded.exception()
        self._waiting.clear()

    def _take_decoded(self) -> None:
        """Places the tiles that are decoded by now."""
        while self._waiting and self._waiting[0].decoded.done():
            waiting = self._waiting.popleft()
            try:
                self._place(waiting.tile, waiting.identity, waiting.decoded.result())
            except (MalformedPacket, WeightsError) as error:
                logger.warning("dropped a tile of a texture: %s", error)

    def _place(self, tile: Tile, identity: int, decoded: DecodedTile) -> None:
        texture = self._newest.get(identity, ReceivedTexture()).with_decoded(tile, decoded)
        self._newest.pop(identity, None)
        if texture.tiles:
            self._newest[identity] = texture
        if len(self._newest) > _MAX_PEOPLE:
            del self._newest[next(iter(self._newest))]

    def of_next_frame(self, *, wait: bool) -> Mapping[int, ReceivedTexture]:
        """The textures of a session's next frame, by identity.

        Args:
            wait: tiles may wait for others, except a person's first.
        """
        self._take_decoded()
        self._frames += 1
        if not wait or self._frames >= _FRAMES_PER_STATE or self._used.keys() != self._newest.keys():
            self._frames = 0
            self._used = dict(self._newest)
        return self._used

    def pop(self, identities: Iterable[int]) -> Mapping[int, ReceivedTexture]:
        """Takes the textures of people out."""
        return {each: self._newest.pop(each) for each in identities if each in self._newest}
