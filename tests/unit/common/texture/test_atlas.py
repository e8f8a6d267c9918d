"""The atlas's layout on the body."""

import io

import numpy as np
import pytest
from PIL import Image as Picture

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import ATLAS_SIZE, MIRROR_SIGNS, REGION_INDEX
from common.body.model import BodyModel
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture.atlas import MAX_BYTES, TILES, VERSION, WITHDRAWN, AtlasLayout, Tile, decode, encode, filled, sample


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def layout(body: BodyModel) -> AtlasLayout:
    return AtlasLayout.from_body(body)


def positions(layout: AtlasLayout, body: BodyModel) -> np.ndarray:
    """(T, 3) where each texel is on the mean body at rest."""
    rest = body.rest_vertices[0].numpy()
    return np.asarray(np.einsum("tc,tcd->td", layout.barycentric, rest[layout.corners]))


def test_texels_are_where_the_texture_coordinates_say(layout: AtlasLayout, body: BodyModel) -> None:
    coordinates = body.texture_coordinates.numpy()[layout.face]
    found = ATLAS_SIZE * np.einsum("tc,tcd->td", layout.barycentric, coordinates) - 0.5
    distance = np.abs(found - np.column_stack([layout.texel % ATLAS_SIZE, layout.texel // ATLAS_SIZE])).max(axis=1)
    # A texel that a triangle only touches is moved to its border.
    assert np.median(distance) < 1e-3 and np.percentile(distance, 99) < 1.5


def test_mirror_texels_show_mirror_points(layout: AtlasLayout, body: BodyModel) -> None:
    has_mirror = layout.mirror >= 0
    points = positions(layout, body)
    apart_m = np.linalg.norm(points[has_mirror] * MIRROR_SIGNS - points[layout.mirror[has_mirror]], axis=1)
    assert has_mirror.mean() > 0.95 and apart_m.max() < 0.011
    hand = layout.region == REGION_INDEX["hand.L"]
    assert (layout.region[layout.mirror[hand & has_mirror]] == REGION_INDEX["hand.R"]).mean() > 0.95


def test_extended_atlas_keeps_the_skin_and_has_no_holes(layout: AtlasLayout) -> None:
    colours = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    colours[layout.texel] = 1 + np.arange(len(layout.texel))[:, None] % 250
    extended = layout.extended(colours.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))
    assert extended.all()
    np.testing.assert_array_equal(extended.reshape(-1, 3)[layout.texel], colours[layout.texel])


def test_sample_interpolates_between_texel_centres() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1).repeat(3, axis=2)
    at = np.array([[0.125, 0.125], [0.25, 0.125], [0.125, 0.25], [0.875, 0.875]], np.float32)
    np.testing.assert_allclose(sample(image, at)[:, 0], [0, 0.5, 2, 15])
    assert sample(image, np.zeros((70_000, 2), np.float32)).shape == (70_000, 3)


def test_known_texels_stay_and_unknown_ones_lie_between_them() -> None:
    colours = np.zeros((32, 48, 3), np.uint8)
    colours[:, 24:] = 200
    known = np.ones((32, 48), np.bool_)
    known[8:24, 12:36] = False
    found = filled(colours, known)
    np.testing.assert_array_equal(found[known], colours[known])
    assert found[~known].max() <= 200 and 40 < found[16, 24, 0] < 160


def test_without_known_texels_all_are_grey() -> None:
    assert (filled(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.bool_)) == 128).all()


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


def avif() -> bytes:
    """A whole file."""
    content = io.BytesIO()
    Picture.new("RGB", (64, 64)).save(content, "AVIF")
    return content.getvalue()


def tile() -> bytes:
    """The coarsest tile, all of it known: version, no mask, length of the sequence header, header, frame."""
    colours, known = smooth_atlas()
    return encode(TILES[0], colours, np.ones_like(known))


def resized(bits: int) -> bytes:
    """The tile with other bits 18 to 29 in its sequence header: its width and its height less one."""
    data = bytearray(tile())
    header = int.from_bytes(data[4:12], "big")
    shift = 64 - 30
    data[4:12] = (header & ~(0xFFF << shift) | bits << shift).to_bytes(8, "big")
    return bytes(data)


HOSTILE = {
    "empty": b"",
    "version": b"\x02" + tile()[1:],
    "no mask": bytes([VERSION, 0]),
    "long mask": bytes([VERSION]) + b"\xff\xff" + bytes(3000),
    "zeros": bytes([VERSION]) + b"\0\0" + bytes(3000),
    "no picture": tile()[:3],
    "no frame": tile()[:12],
    "truncated": tile()[:-20],
    "wide": resized(0b110101_111111),
    "not still": tile()[:4] + bytes([tile()[4] & ~0x10]) + tile()[5:],
    "of another level": encode(TILES[1], *smooth_atlas()),
    "file": bytes([VERSION]) + b"\0\0" + avif(),
    "long": bytes([VERSION]) + bytes(MAX_BYTES),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tiles_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        decode(TILES[0], data)


def test_nothing_is_decoded_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was asked")

    assert resized(0b111111_111111) == tile()
    monkeypatch.setattr(Picture, "open", never)
    with pytest.raises(MalformedPacket, match="64 pixels"):
        decode(TILES[0], resized(0b111111_111110))


@pytest.mark.parametrize("number", [0, 7])
def test_damaged_tiles_decode_or_are_refused(number: int) -> None:
    place, rng = TILES[number], np.random.default_rng(0)
    whole = encode(place, *smooth_atlas())
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.integers(1, len(data))] = rng.integers(256)
        try:
            decoded = decode(place, bytes(data))
        except MalformedPacket:
            continue
        assert decoded is not None and decoded[0].shape == (place.size, place.size, 3)
        assert decoded[1].shape == (place.size, place.size)
