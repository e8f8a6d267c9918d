"""Tiles arrive in any order; the finest that knows a texel counts."""

import pickle

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import TILES, WITHDRAWN, Tile, encode
from receiver.texture.received_texture import ReceivedTexture

ALL = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)


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
