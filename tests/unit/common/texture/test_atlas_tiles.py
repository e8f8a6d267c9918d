"""Tiles decode to what was encoded, and hostile ones are refused before they cost anything."""

import io
import struct
from typing import get_args

import cv2
import numpy as np
import pytest
from PIL import Image as Picture

from common.arrays import BoolArray, ByteArray
from common.blobs import TextureCodec
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture.atlas_tiles import LEARNED_VERSION, MAX_BYTES, TILES, VERSION, WITHDRAWN, Tile, decode, encode


def smooth_atlas() -> tuple[ByteArray, BoolArray]:
    """Colours that vary slowly, known left of the middle."""
    row, column = np.mgrid[:ATLAS_SIZE, :ATLAS_SIZE] / ATLAS_SIZE
    colours = np.stack([255 * row, 255 * column, 128 + 100 * np.sin(6 * row)], axis=-1).astype(np.uint8)
    return colours, column < 0.5


@pytest.mark.parametrize("codec", ["webp", "learned"])
@pytest.mark.parametrize("tile", [TILES[0], TILES[1], TILES[2], TILES[6]])
def test_decoded_tile_is_the_encoded_one(tile: Tile, codec: TextureCodec) -> None:
    colours, known = smooth_atlas()
    decoded = decode(tile, encode(tile, colours, known, codec))
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


def bomb(size: tuple[int, int]) -> bytes:
    """A tile whose header says that it is of another size."""
    content = bytearray(picture((64, 64)))
    start = content.index(b"\x9d\x01\x2a") + 3
    content[start : start + 4] = struct.pack("<HH", *size)
    return bytes(content)


HOSTILE = {
    "empty": b"",
    "no mask": b"\x02",
    "version": b"\x03",
    "long mask": bytes([LEARNED_VERSION]) + b"\xff\xff" + bytes(3000),
    "zeros": bytes([LEARNED_VERSION]) + b"\0\0" + bytes(3000),
    "cut": bytes([VERSION]) + b"RIFF",
    "huge": bomb((16_000, 16_000)),
    "size": picture((64, 65)),
    "png": picture((64, 64), "PNG"),
    "animation": picture((64, 64), frames=3),
    "truncated": picture((64, 64))[:-20],
    "long": bytes([VERSION]) + bytes(MAX_BYTES),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tiles_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        decode(TILES[0], data)


def test_learned_tile_with_a_ragged_mask_is_smaller() -> None:
    colours, _ = smooth_atlas()
    coarse = np.random.default_rng(0).normal(0, 1, (ATLAS_SIZE // 4, ATLAS_SIZE // 4))
    rough = cv2.resize(coarse, (ATLAS_SIZE, ATLAS_SIZE), interpolation=cv2.INTER_LINEAR)
    known = rough > -0.4
    colours = np.clip(colours + 12 * rough[..., None], 0, 255).astype(np.uint8)
    sizes = [sum(len(encode(tile, colours, known, codec)) for tile in TILES[6:10]) for codec in get_args(TextureCodec)]
    assert sizes[0] < sizes[1]


def test_only_the_finest_level_is_learned() -> None:
    colours, known = smooth_atlas()
    versions = [encode(tile, colours, known, "learned")[0] for tile in TILES[:8]]
    assert versions == [VERSION] * 6 + [LEARNED_VERSION] * 2


def test_unknown_texels_have_no_influence_on_a_learned_tile() -> None:
    colours, known = smooth_atlas()
    other = np.where(known[..., None], colours, 7).astype(np.uint8)
    assert encode(TILES[6], colours, known, "learned") == encode(TILES[6], other, known, "learned")


@pytest.mark.parametrize(("tile", "codec", "attempts"), [(TILES[1], "webp", 200), (TILES[7], "learned", 60)])
def test_damaged_tiles_decode_or_are_refused(tile: Tile, codec: TextureCodec, attempts: int) -> None:
    colours, known = smooth_atlas()
    whole, rng = encode(tile, colours, known, codec), np.random.default_rng(0)
    for _ in range(attempts):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.integers(1, len(data))] = rng.integers(256)
        try:
            decoded = decode(tile, bytes(data))
        except MalformedPacket:
            continue
        assert decoded is not None and decoded[0].shape == (128, 128, 3) and decoded[1].shape == (128, 128)
