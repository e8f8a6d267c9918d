"""Tiles arrive in any order; the finest that knows a texel counts."""

import pickle
from collections.abc import Mapping
from itertools import count

import numpy as np
import pytest

from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket
from common.texture.atlas_tiles import TILES, WITHDRAWN, Tile, encode
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures

ALL = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
CLOCK = count()


def next_frame(textures: ReceivedTextures, *, wait: bool) -> Mapping[int, ReceivedTexture]:
    """Those of a frame, of which there are 30 a second."""
    return textures.of_next_frame(next(CLOCK) / 30, wait=wait)


def flat(tile: Tile, colour: int, known: np.ndarray = ALL) -> bytes:
    return encode(tile, np.full((ATLAS_SIZE, ATLAS_SIZE, 3), colour, np.uint8), known)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_finer_tiles_count_more_in_any_order(order: tuple[int, int]) -> None:
    left = np.arange(ATLAS_SIZE)[None].repeat(ATLAS_SIZE, axis=0) < ATLAS_SIZE // 2
    arrivals = [(TILES[0], flat(TILES[0], 50)), (TILES[1], flat(TILES[1], 200, left))]
    received = ReceivedTexture()
    for number in order:
        received = received.with_tile(*arrivals[number])
    texture = received.texture()
    assert texture.known.all()
    np.testing.assert_allclose(texture.colours[left].astype(int), 200, atol=3)
    np.testing.assert_allclose(texture.colours[~left].astype(int), 50, atol=3)


def test_finest_tile_leaves_to_coarser_ones_what_it_does_not_know() -> None:
    tile, known = TILES[-1], np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    known[tile.area][: tile.size // 2] = True
    texture = (
        ReceivedTexture().with_tile(TILES[0], flat(TILES[0], 50)).with_tile(tile, flat(tile, 200, known)).texture()
    )
    assert texture.known.all()
    np.testing.assert_allclose(texture.colours[known].astype(int), 200, atol=3)
    np.testing.assert_allclose(texture.colours[~known].astype(int), 50, atol=3)


def test_tile_covers_its_own_area_only() -> None:
    tile = TILES[-1]
    texture = ReceivedTexture().with_tile(tile, flat(tile, 90)).texture()
    expected = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    expected[tile.area] = True
    np.testing.assert_array_equal(texture.known, expected)


def test_withdrawn_tile_is_gone() -> None:
    received = ReceivedTexture().with_tile(TILES[0], flat(TILES[0], 90)).with_tile(TILES[0], WITHDRAWN)
    assert not received.texture().known.any()


def blob(identity: int, number: int = 0, data: bytes | None = None) -> Blob:
    tile = TILES[number]
    return Blob(TEXTURE, tile.key(identity), flat(tile, 90) if data is None else data)


def test_textures_belong_to_people() -> None:
    textures = ReceivedTextures()
    textures.take(blob(3))
    textures.take(blob(4))
    assert next_frame(textures, wait=False).keys() == {3, 4}
    textures.take(blob(3, data=WITHDRAWN))
    assert next_frame(textures, wait=True).keys() == {4}


def test_tiles_of_a_live_session_wait_for_others_except_the_first() -> None:
    textures = ReceivedTextures()
    textures.take(blob(3))
    first = next_frame(textures, wait=True)[3]
    textures.take(blob(3, 1))
    states = [next_frame(textures, wait=True)[3] for _ in range(40)]
    assert states[0] is first and len(states[-1].tiles) == 2
    assert len({id(state) for state in states}) == 2


def test_every_tile_counts_at_once_in_a_session_that_is_not_live() -> None:
    textures = ReceivedTextures()
    for number in range(3):
        textures.take(blob(3, number))
        assert len(next_frame(textures, wait=False)[3].tiles) == number + 1


def test_memory_is_limited_to_some_people() -> None:
    textures = ReceivedTextures()
    for identity in range(256):
        textures.take(blob(identity))
    assert len(next_frame(textures, wait=False)) <= 32 and 255 in next_frame(textures, wait=False)


@pytest.mark.parametrize("hostile", [Blob(TEXTURE, 2**31, WITHDRAWN), Blob(TEXTURE, 0, b"\x01RIFF")])
def test_hostile_tiles_change_nothing(hostile: Blob) -> None:
    textures = ReceivedTextures()
    textures.take(blob(0))
    before = next_frame(textures, wait=False)[0]
    with pytest.raises(MalformedPacket):
        textures.take(hostile)
    assert next_frame(textures, wait=False)[0] is before


def test_texture_does_not_depend_on_when_it_was_asked_for() -> None:
    coarse, fine, replaced = TILES[0], TILES[-1], TILES[1]
    asked, silent = ReceivedTexture(), ReceivedTexture()
    for tile, grey in ((coarse, 90), (fine, 30), (replaced, 200), (fine, 60), (coarse, 120)):
        asked, silent = asked.with_tile(tile, flat(tile, grey)), silent.with_tile(tile, flat(tile, grey))
        asked.texture()
    np.testing.assert_array_equal(asked.texture().colours, silent.texture().colours)
    np.testing.assert_array_equal(asked.texture().known, silent.texture().known)


def test_texture_reaches_another_process() -> None:
    sent = ReceivedTexture().with_tile(TILES[0], flat(TILES[0], 90))
    arrived = pickle.loads(pickle.dumps(sent))
    np.testing.assert_array_equal(arrived.texture().colours, sent.texture().colours)
