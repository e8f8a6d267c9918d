"""Tiles arrive in any order; the finest that knows a texel counts."""

import asyncio
import pickle
from collections.abc import Mapping
from itertools import count

import numpy as np
import pytest

from common.arrays import ByteArray
from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket, WeightsError
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
    states = [next_frame(textures, wait=True)[3] for _ in range(20)]
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


def estimate(shade: int) -> ByteArray:
    return np.full((8, 8, 3), shade, np.uint8)


def test_tiles_keep_the_completion() -> None:
    received = ReceivedTexture().with_tile(TILES[0], flat(TILES[0], 90))
    completed = received.with_completion(estimate(1))
    assert received.completion is None and completed.tiles is received.tiles
    for tile in (TILES[1], TILES[-1]):
        completed = completed.with_tile(tile, flat(tile, 60))
        np.testing.assert_array_equal(completed.completion, estimate(1))
    assert len(completed.tiles) == 3


def test_completion_reaches_another_process() -> None:
    sent = ReceivedTexture().with_tile(TILES[0], flat(TILES[0], 90)).with_completion(estimate(7))
    arrived = pickle.loads(pickle.dumps(sent))
    np.testing.assert_array_equal(arrived.completion, estimate(7))
    np.testing.assert_array_equal(arrived.texture().colours, sent.texture().colours)


class Estimates:
    """An `InpaintLater` whose results the test gives."""

    def __init__(self) -> None:
        self.begun: list[tuple[ReceivedTexture, asyncio.Future[ByteArray | None]]] = []

    def __call__(self, received: ReceivedTexture) -> "asyncio.Future[ByteArray | None]":
        self.begun.append((received, asyncio.get_running_loop().create_future()))
        return self.begun[-1][1]

    def finish(self, shade: int | None) -> None:
        """Ends the newest."""
        self.begun[-1][1].set_result(None if shade is None else estimate(shade))


@pytest.fixture
def estimates() -> Estimates:
    return Estimates()


def shade_of(received: ReceivedTexture) -> int | None:
    return None if received.completion is None else int(received.completion[0, 0, 0])


async def test_live_frames_go_on_while_a_texture_is_completed(estimates: Estimates) -> None:
    textures = ReceivedTextures(inpaint_later=estimates)
    textures.take(blob(3))
    before = [next_frame(textures, wait=True)[3] for _ in range(10)]
    assert len(estimates.begun) == 1 and {shade_of(each) for each in before} == {None}
    estimates.finish(5)
    after = [next_frame(textures, wait=True)[3] for _ in range(10)]
    assert shade_of(after[-1]) == 5 and after[-1] is not before[-1]
    # Every object is one state, because paint is cached by it.
    assert len({id(each) for each in (*before, *after)}) == 2


async def test_texture_is_completed_again_after_new_tiles_but_not_often(estimates: Estimates) -> None:
    textures = ReceivedTextures(inpaint_later=estimates)
    textures.take(blob(3))
    next_frame(textures, wait=True)
    textures.take(blob(3, 1))
    for _ in range(40):
        next_frame(textures, wait=True)
    assert len(estimates.begun) == 1, "another one began while the first one runs"
    estimates.finish(5)
    next_frame(textures, wait=True)
    assert [len(received.tiles) for received, _ in estimates.begun] == [1, 2]
    estimates.finish(6)
    next_frame(textures, wait=True)
    textures.take(blob(3, 2))
    shades = [shade_of(next_frame(textures, wait=True)[3]) for _ in range(14)]
    assert len(estimates.begun) == 2 and shades[-1] == 6, "the earlier estimate was lost, or the next one is too early"
    for _ in range(40):
        next_frame(textures, wait=True)
    assert len(estimates.begun) == 3
    estimates.finish(7)
    for _ in range(40):
        next_frame(textures, wait=True)
    assert len(estimates.begun) == 3, "nothing has arrived"


async def test_completed_waits_for_completions_of_the_newest_tiles(estimates: Estimates) -> None:
    textures = ReceivedTextures(inpaint_later=estimates)
    for identity, number in ((3, 0), (3, 1), (4, 0)):
        textures.take(blob(identity, number))
    waiting = asyncio.ensure_future(textures.completed([3, 9], next(CLOCK) / 30))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert [len(received.tiles) for received, _ in estimates.begun] == [2], "person 4 is in another picture"
    estimates.finish(5)
    await waiting
    assert shade_of(next_frame(textures, wait=False)[3]) == 5
    textures.forget([3, 8])
    assert set(next_frame(textures, wait=False)) == {4}
    textures.take(blob(3))
    waiting = asyncio.ensure_future(textures.completed([3], next(CLOCK) / 30))
    await asyncio.sleep(0)
    assert len(estimates.begun) == 2, "it is another person"
    estimates.finish(None)
    await waiting
    assert shade_of(next_frame(textures, wait=False)[3]) is None


async def test_completion_of_a_person_who_is_gone_is_given_up(estimates: Estimates) -> None:
    textures = ReceivedTextures(inpaint_later=estimates)
    textures.take(blob(3))
    next_frame(textures, wait=True)
    textures.take(blob(3, data=WITHDRAWN))
    assert estimates.begun[0][1].cancelled()
    textures.take(blob(3))
    assert shade_of(next_frame(textures, wait=True)[3]) is None
    assert len(estimates.begun) == 2


async def test_failed_completions_change_nothing_and_are_logged_once(
    estimates: Estimates, caplog: pytest.LogCaptureFixture
) -> None:
    textures = ReceivedTextures(inpaint_later=estimates)
    for identity, error in ((3, WeightsError("no weights")), (4, MemoryError("no room"))):
        textures.take(blob(identity))
        waiting = asyncio.ensure_future(textures.completed([identity], next(CLOCK) / 30))
        await asyncio.sleep(0)
        estimates.begun[-1][1].set_exception(error)
        await waiting
    assert {shade_of(each) for each in next_frame(textures, wait=False).values()} == {None}
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "no weights" in record.message


async def test_close_gives_up_completions(estimates: Estimates) -> None:
    textures = ReceivedTextures(inpaint_later=estimates)
    textures.take(blob(3))
    textures.take(blob(4))
    next_frame(textures, wait=True)
    failed, waiting = (future for _, future in estimates.begun)
    failed.set_exception(WeightsError("no weights"))
    textures.close()
    assert waiting.cancelled()
