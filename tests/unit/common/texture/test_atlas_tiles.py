"""Tiles decode to what was encoded, and hostile ones are refused before they cost anything."""

import io

import numpy as np
import pytest
from PIL import Image as Picture

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture.atlas_tiles import MAX_BYTES, TILES, VERSION, WITHDRAWN, Tile, decode, encode


def smooth_atlas() -> tuple[ByteArray, BoolArray]:
    """Colours that vary slowly, known left of the middle."""
    row, column = np.mgrid[:ATLAS_SIZE, :ATLAS_SIZE] / ATLAS_SIZE
    colours = np.stack([255 * row, 255 * column, 128 + 100 * np.sin(6 * row)], axis=-1).astype(np.uint8)
    return colours, column < 0.5


@pytest.mark.parametrize("tile", [TILES[0], TILES[1], TILES[2], TILES[6]])
def test_decoded_tile_is_the_encoded_one(tile: Tile) -> None:
    colours, known = smooth_atlas()
    decoded = decode(tile, encode(tile, colours, known))
    assert decoded is not None
    half = tile.scale // 2
    expected = colours[tile.area][half :: tile.scale, half :: tile.scale].astype(float)
    truly_known = known[tile.area][half :: tile.scale, half :: tile.scale]
    np.testing.assert_array_equal(decoded[1], truly_known)
    assert np.abs(decoded[0] - expected)[truly_known].mean() < (10, 7, 5, 5)[tile.level]


def test_all_tiles_of_a_level_cover_the_atlas_once() -> None:
    for level in {tile.level for tile in TILES}:
        covered = np.zeros((ATLAS_SIZE, ATLAS_SIZE), int)
        for tile in TILES:
            if tile.level == level:
                covered[tile.area] += 1
        assert (covered == 1).all()


def test_keys_name_tile_and_person() -> None:
    keys = {tile.key(identity): (tile, identity) for tile in TILES for identity in (0, 7, IDENTITIES - 1)}
    assert len(keys) == 3 * len(TILES)
    assert all(Tile.of_key(key) == place for key, place in keys.items())
    with pytest.raises(MalformedPacket, match="there are 22"):
        Tile.of_key(len(TILES) * IDENTITIES)


def test_tile_of_unknown_texels_withdraws() -> None:
    colours, _ = smooth_atlas()
    data = encode(TILES[0], colours, np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.bool_))
    assert data == WITHDRAWN and decode(TILES[0], data) is None


def picture(size: tuple[int, int], kind: str = "WEBP", frames: int = 1) -> bytes:
    content = io.BytesIO()
    images = [Picture.new("RGB", size, (80 * number, 0, 0)) for number in range(frames)]
    more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(content, kind, **more)
    return bytes([VERSION]) + content.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02",
        bytes([VERSION]) + b"RIFF",
        picture((16_000, 16_000)),
        picture((64, 65)),
        picture((64, 64), "PNG"),
        picture((64, 64), frames=3),
        picture((64, 64))[:-20],
        bytes([VERSION]) + bytes(MAX_BYTES),
    ],
    ids=["empty", "version", "cut", "huge", "size", "png", "animation", "truncated", "long"],
)
def test_hostile_tiles_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        decode(TILES[0], data)


def test_damaged_tiles_decode_or_are_refused() -> None:
    colours, known = smooth_atlas()
    whole, rng = encode(TILES[1], colours, known), np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.integers(1, len(data))] = rng.integers(256)
        try:
            decoded = decode(TILES[1], bytes(data))
        except MalformedPacket:
            continue
        assert decoded is not None and decoded[0].shape == (128, 128, 3) and decoded[1].shape == (128, 128)
