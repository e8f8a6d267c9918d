"""The texture atlas: a square image of the unfolded skin, its tiles, and what fills its holes.

`ATLAS_SIZE` texels along a side are 1.9 mm of a face and 2.9 mm of a chest each.

Shapes: S = `ATLAS_SIZE`, T texels that show skin, V vertices of the body, F its triangles.

Codec for the texture atlas: tiles of four resolutions, each a picture of some hundred to some thousand bytes.

A tile is a square of up to 128 texels of the atlas, or of the atlas reduced to 64, 128 or 256 texels.  Every tile can
be decoded on its own; where tiles overlap, the finest one counts.  A tile is sent again when its colours have changed.

Layout: a version byte; length of the mask in two bytes; the mask, which says what texels are known; the colours as an
AV1 still picture (`common.texture.still_picture`).  A tile of the version alone withdraws what was sent before.
"""

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from common.arrays import BoolArray, ByteArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture import still_picture
from common.texture.still_picture import MaskCodec

if TYPE_CHECKING:
    from common.body.model import BodyModel


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """The colours of one person's skin and clothes.

    Args:
        colours: (S, S, 3) uint8 RGB; undefined where unknown.
        known: (S, S) bool; the texels whose colours are known.
    """

    colours: ByteArray
    known: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class AtlasLayout:
    """Where the texels are on the body.

    Args:
        texel: (T,) indices into the flat atlas of the texels that show skin.
        face: (T,) the triangle of each.
        corners: (T, 3) vertices of that triangle.
        barycentric: (T, 3) position on it.
        mirror: (T,) position in `texel` of the one that shows the mirror point, or −1.
        region: (T,) body region of each.
        nearest: (S, S) indices into the flat atlas of the nearest texel that shows skin.
    """

    texel: Int32Array
    face: Int32Array
    corners: Int32Array
    barycentric: FloatArray
    mirror: Int32Array
    region: IntArray
    nearest: IntArray = field(repr=False)

    @classmethod
    def from_body(cls, body: "BodyModel") -> Self:
        """The layout of a body."""
        texel, face = body.texel.cpu().numpy(), body.texel_face.cpu().numpy()
        corners = body.faces.cpu().numpy()[face].astype(np.int32)
        barycentric = body.texel_barycentric.cpu().numpy()
        closest = np.take_along_axis(corners, barycentric.argmax(axis=1)[:, None], axis=1)[:, 0]
        region = body.vertex_region.cpu().numpy()[closest].astype(np.int64)
        empty = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
        empty.ravel()[texel] = False
        rows, columns = distance_transform_edt(empty, return_distances=False, return_indices=True)
        return cls(
            texel,
            face,
            corners,
            barycentric,
            body.texel_mirror.cpu().numpy(),
            region,
            (rows * ATLAS_SIZE + columns).astype(np.int64),
        )

    def areas(self, body: "BodyModel") -> FloatArray:
        """(T,) m² of the body at rest that each texel shows."""
        corners = body.rest_vertices[0].cpu().numpy()[body.faces.cpu().numpy()]
        edges = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
        texels = np.bincount(self.face, minlength=len(area))
        return np.asarray((area / np.maximum(texels, 1))[self.face], np.float32)

    def squares(self, side: int) -> IntArray:
        """(T,) the square of `side` × `side` texels that each lies in, counted in rows from the upper left."""
        rows, columns = np.divmod(self.texel.astype(np.int64), ATLAS_SIZE)
        squares: IntArray = rows // side * (ATLAS_SIZE // side) + columns // side
        return squares

    def extended(self, colours: ByteArray) -> ByteArray:
        """(S, S, C) colours in which each texel that shows no skin has those of the nearest that does."""
        extended: ByteArray = colours.reshape(-1, colours.shape[2]).take(self.nearest, axis=0)
        return extended


def sample(image: ByteArray | FloatArray, coordinates: FloatArray) -> FloatArray:
    """(N, C) bilinear samples of an atlas (S, S, C) at texture coordinates (N, 2), v downwards."""
    if not len(coordinates):
        return np.zeros((0, image.shape[2]), np.float32)
    at = np.asarray(coordinates * [image.shape[1], image.shape[0]] - 0.5, np.float32)
    # OpenCV maps at most 32,767 rows at once.
    parts = [
        cv2.remap(image, part[:, :1], part[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in np.array_split(at, len(at) // 32_000 + 1)
    ]
    return np.concatenate(parts)[:, 0].astype(np.float32)


_GREY = 128


def filled(colours: ByteArray, known: BoolArray) -> ByteArray:
    """(H, W, 3) RGB with unknown texels interpolated by a pyramid of means (push-pull, Gortler et al. 1996).

    Args:
        colours: (H, W, 3) uint8; those of unknown texels have no influence.
        known: (H, W) bool; grey comes back where none is known.
    """
    if known.all():
        return colours
    if not known.any():
        return np.full_like(colours, _GREY)
    weight = known.astype(np.float32)
    smooth = _pulled(colours * in_each_channel(weight), weight)
    # Rounds, to the even number from the middle, and clips.
    result = np.asarray(cv2.convertScaleAbs(smooth), np.uint8)
    return np.asarray(cv2.copyTo(colours, known.view(np.uint8), result), np.uint8)


def in_each_channel(values: FloatArray) -> FloatArray:
    """(H, W, 3) of (H, W): NumPy takes several times as long to broadcast along a short last axis."""
    return np.asarray(cv2.merge((values, values, values)), np.float32)


def _pulled(sums: FloatArray, weight: FloatArray) -> FloatArray:
    """Means (H, W, 3) where the weight (H, W), 0…1, is positive, mixed with those of half the size for the rest."""
    means: FloatArray = sums / in_each_channel(np.maximum(weight, 1e-6))
    height, width = weight.shape
    if height == width == 1 or (weight >= 1).all():
        return means
    # In fours, and each at most as certain as one texel that is known.
    half = (-(-width // 2), -(-height // 2))
    coarse_sums = 4 * cv2.resize(sums, half, interpolation=cv2.INTER_AREA)
    coarse_weight = 4 * cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    excess = np.maximum(coarse_weight, 1)
    coarse = _pulled(coarse_sums / in_each_channel(excess), np.asarray(coarse_weight / excess, np.float32))
    finer = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    means *= in_each_channel(weight)
    means += in_each_channel(1 - weight) * finer
    return means


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
