"""Codec for the texture atlas: tiles of four resolutions, each a picture of some hundred to some thousand bytes.

A tile is a square of up to 128 texels of the atlas, or of the atlas reduced to 64, 128 or 256 texels.  Every tile can
be decoded on its own; where tiles overlap, the finest one counts.  A tile is sent again when its colours have changed.

Layout: a version byte; length of the mask in two bytes; the mask, which says what texels are known; the colours as an
AV1 still picture (`common.texture.still_picture`).  A tile of the version alone withdraws what was sent before.
"""

import struct
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture import still_picture
from common.texture.hole_filling import filled, in_each_channel
from common.texture.mask_codec import MaskCodec

VERSION = 3
MAX_BYTES = 32_768
"""Upper limit of an encoded tile."""
TILE_SIZE = 128
LEVEL_SIZES = (64, 128, 256, ATLAS_SIZE)
"""Texels along a side of the whole atlas at each level, from the coarsest."""

_MASK_BYTES = struct.Struct(">H")
# A reduced texel is known if this share of what it covers is.
_KNOWN_SHARE = 0.4
# What tells one person from another is fine.
_FACE_QUALITY = 72
WITHDRAWN = bytes([VERSION])
"""A tile without a picture."""
DecodedTile = tuple[ByteArray, BoolArray] | None
"""Colours (n, n, 3) and known texels (n, n); None for a tile that is withdrawn."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A place in the pyramid of the atlas.

    Args:
        level: index into `LEVEL_SIZES`.
        row, column: of the tile within its level.
    """

    level: int
    row: int
    column: int

    @property
    def size(self) -> int:
        """Texels along a side."""
        return min(TILE_SIZE, LEVEL_SIZES[self.level])

    @property
    def scale(self) -> int:
        """Texels of the atlas along a side of one texel of the tile."""
        return ATLAS_SIZE // LEVEL_SIZES[self.level]

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the atlas that the tile covers."""
        side = self.size * self.scale
        return slice(self.row * side, (self.row + 1) * side), slice(self.column * side, (self.column + 1) * side)

    def key(self, identity: int) -> int:
        """The key of a person's blob of this tile."""
        return TILES.index(self) * IDENTITIES + identity

    @classmethod
    def of_key(cls, key: int) -> tuple[Self, int]:
        """The tile and the person's identity of a blob's key. Raises MalformedPacket if there is no such tile."""
        number, identity = divmod(key, IDENTITIES)
        if number >= len(TILES):
            raise MalformedPacket(f"tile {number} of a texture; there are {len(TILES)}")
        tile = TILES[number]
        return cls(tile.level, tile.row, tile.column), identity


def _tiles() -> tuple[Tile, ...]:
    counts = [max(1, size // TILE_SIZE) for size in LEVEL_SIZES]
    return tuple(
        Tile(level, row, column)
        for level, count in enumerate(counts)
        for row in range(count)
        for column in range(count)
    )


TILES = _tiles()
"""All tiles, from the coarsest level, in the order of their numbers."""
FACE_TILES = (Tile(3, 1, 3), Tile(3, 2, 3), Tile(3, 1, 0))
"""Those of the finest level with a face: its left and right half, and the eyeballs."""


def encode(tile: Tile, colours: ByteArray, known: BoolArray) -> bytes:
    """Encodes one tile of an atlas.

    Args:
        colours: (S, S, 3) uint8 RGB.
        known: (S, S) bool; colours elsewhere have no influence.
    """
    picture, mask = reduced(colours[tile.area], known[tile.area], tile.scale)
    return encode_picture(tile, filled(picture, mask), mask)


def encode_picture(tile: Tile, picture: ByteArray, mask: BoolArray) -> bytes:
    """Encodes a tile from its own texels.

    Args:
        picture: (n, n, 3) uint8 RGB.
        mask: (n, n) bool, the known ones.
    """
    if not mask.any():
        return WITHDRAWN
    shape = MaskCodec.load().encode(mask)
    quality = _FACE_QUALITY if tile in FACE_TILES else still_picture.QUALITY
    return bytes([VERSION]) + _MASK_BYTES.pack(len(shape)) + shape + still_picture.encode(picture, quality)


def check(data: bytes) -> None:
    """Refuses what is certainly no tile, without decoding it.

    Raises:
        MalformedPacket: the length or the version is none of a tile.
    """
    if not 1 <= len(data) <= MAX_BYTES:
        raise MalformedPacket(f"a texture's tile of {len(data)} bytes; tiles have up to {MAX_BYTES}")
    if data[0] != VERSION:
        raise MalformedPacket(f"a texture's tile of version {data[0]}: only version {VERSION} is known")


def decode(tile: Tile, data: bytes) -> DecodedTile:
    """Colours (n, n, 3) and known texels (n, n) of a tile; None if it is withdrawn.

    Raises:
        MalformedPacket: the blob has another version or no picture of the tile's size.
    """
    check(data)
    if data == WITHDRAWN:
        return None
    begin = 1 + _MASK_BYTES.size
    if len(data) < begin:
        raise MalformedPacket("a texture's tile that ends before its mask")
    end = begin + int(_MASK_BYTES.unpack_from(data, 1)[0])
    # A mask that reaches behind the end is cut, and leaves no picture.
    known = MaskCodec.load().decode(data[begin:end], tile.size)
    return still_picture.decode(data[end:], tile.size), known


def reduced(colours: ByteArray, known: BoolArray, scale: int) -> tuple[ByteArray, BoolArray]:
    """Colours and known texels at 1 / scale of the size.

    The colours are means over the known ones of scale × scale texels, which are known if enough of them are.
    """
    if scale == 1:
        return colours, known
    weight = known.astype(np.float32)
    size = (known.shape[1] // scale, known.shape[0] // scale)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(colours * in_each_channel(weight), size, interpolation=cv2.INTER_AREA)
    means = cv2.divide(sums, in_each_channel(np.maximum(share, 1e-3)), dtype=cv2.CV_8U)
    return np.asarray(means, np.uint8), np.asarray(share >= _KNOWN_SHARE)
