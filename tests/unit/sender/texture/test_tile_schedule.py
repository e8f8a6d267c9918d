"""Which tiles are sent, of atlases that tests paint."""

import numpy as np
import pytest

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.model import BodyModel
from common.texture.atlas import TILES, WITHDRAWN, AtlasLayout, Tile
from receiver.texture.received_texture import ReceivedTexture
from sender.texture.atlas import AtlasMemory, AtlasView
from sender.texture.texture_stage import TileSchedule


@pytest.fixture(scope="module")
def areas(layout: AtlasLayout, model: BodyModel) -> FloatArray:
    return layout.areas(model)


class Schedule:
    """A schedule and the tiles that it has sent."""

    def __init__(self, layout: AtlasLayout, areas: FloatArray) -> None:
        self.layout, self.memory = layout, AtlasMemory(layout, remove_light=False)
        self.schedule = TileSchedule(layout, self.memory, areas)
        self.texture, self.now_s = ReceivedTexture(), 0.0

    def observe(
        self, colours: FloatArray, seen: BoolArray | None = None, frames: int = 5, pause_s: float = 1 / 6
    ) -> list[tuple[Tile, int]]:
        """Shows the texels (T, 3), or some of them, as from the front; returns the tiles of the next frames."""
        texels = np.arange(len(self.layout.texel)) if seen is None else np.flatnonzero(seen)
        normals = np.tile(np.array([0, 0, -1], np.float32), (len(texels), 1))
        weights = np.full(len(texels), 0.5, np.float32)
        self.memory.add(AtlasView(texels, colours[texels].astype(np.float32), weights, normals))
        self.now_s += pause_s
        self.schedule.observed(self.now_s)
        sent = []
        for _ in range(frames):
            if (found := self.schedule.next()) is not None:
                tile, data = found
                self.texture = self.texture.with_tile(tile, data)
                sent.append((tile, len(data)))
        return sent


@pytest.fixture
def schedule(layout: AtlasLayout, areas: FloatArray) -> Schedule:
    return Schedule(layout, areas)


def flat(layout: AtlasLayout, colour: float) -> FloatArray:
    return np.full((len(layout.texel), 3), colour, np.float32)


def stripes(layout: AtlasLayout, texels: int) -> FloatArray:
    """Black and white stripes of so many texels."""
    white = layout.texel.astype(np.int64) % 512 // texels % 2
    return np.asarray(60 + 130 * np.tile(white[:, None], 3), np.float32)


def test_one_colour_needs_one_tile(schedule: Schedule) -> None:
    sent = [entry for _ in range(15) for entry in schedule.observe(flat(schedule.layout, 90))]
    assert [tile.level for tile, _ in sent] == [1]
    shown = schedule.texture.texture()
    assert np.abs(shown.colours[shown.known].astype(float) - 90).mean() < 2


def test_finer_tiles_are_for_what_coarser_ones_do_not_show(layout: AtlasLayout, areas: FloatArray) -> None:
    finest = []
    for texels in (2, 24):
        schedule = Schedule(layout, areas)
        sent = [entry for _ in range(25) for entry in schedule.observe(stripes(layout, texels))]
        finest.append(sum(tile.level == 3 for tile, _ in sent))
    assert finest[0] > 8 > finest[1]


def test_faces_are_sent_finely_however_small_they_are(schedule: Schedule) -> None:
    sent = {tile for _ in range(25) for tile, _ in schedule.observe(stripes(schedule.layout, 8))}
    fine = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    for tile in sent:
        fine[tile.area] |= tile.level == 3
    inside = fine.ravel()[schedule.layout.texel]
    face = schedule.layout.region == REGION_INDEX["face"]
    assert inside[face].mean() > 0.9


def test_other_clothes_are_sent(schedule: Schedule) -> None:
    for _ in range(10):
        schedule.observe(flat(schedule.layout, 60))
    assert any(schedule.observe(flat(schedule.layout, 200)) for _ in range(40))
    for _ in range(50):
        schedule.observe(flat(schedule.layout, 200))
    shown = schedule.texture.texture()
    assert np.abs(shown.colours[shown.known].astype(float) - 200).mean() < 12


def test_what_turns_into_view_is_sent(schedule: Schedule) -> None:
    upper = schedule.layout.texel < 512 * 256
    for _ in range(10):
        schedule.observe(stripes(schedule.layout, 24), upper)
    before = schedule.texture.texture().known.mean()
    for _ in range(20):
        schedule.observe(stripes(schedule.layout, 24), ~upper)
    assert schedule.texture.texture().known.mean() > 1.3 * before


def test_coarser_tile_leaves_what_a_finer_one_shows(schedule: Schedule) -> None:
    rows, columns = np.divmod(schedule.layout.texel.astype(np.int64), ATLAS_SIZE)
    coarse, fine = ((rows < side) & (columns < side) for side in (256, 128))
    colours = np.where(fine[:, None], stripes(schedule.layout, 2), stripes(schedule.layout, 24)).astype(np.float32)
    sent = [tile for seen in (fine, coarse) for _ in range(40) for tile, _ in schedule.observe(colours, seen)]
    eyes = Tile(3, 1, 0)
    assert sent == [Tile(1, 0, 0), Tile(3, 0, 0), eyes, Tile(2, 0, 0)]


def test_colours_that_keep_changing_are_sent_ever_more_seldom(schedule: Schedule) -> None:
    rng, sent = np.random.default_rng(0), []
    for _ in range(8):
        colours = flat(schedule.layout, float(rng.uniform(0, 255)))
        sent.append(sum(len(schedule.observe(colours)) for _ in range(12)))
    assert max(sent) == sent[1] and sum(sent[4:]) <= 8


def test_bytes_are_spread_over_observations(schedule: Schedule) -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (len(schedule.layout.texel), 3)).astype(np.float32)
    sizes = [sum(size for _, size in schedule.observe(noise)) for _ in range(40)]
    largest = 18_000  # of a tile of noise, with a face
    assert 0 < sum(sizes[:3]) < 3500 + largest
    assert sum(sizes) < 3500 + 40 * 333 + largest


def test_withdrawals_are_of_what_was_sent(schedule: Schedule) -> None:
    assert schedule.schedule.next() is None and schedule.schedule.withdrawals() == []
    sent = {tile for _ in range(20) for tile, _ in schedule.observe(stripes(schedule.layout, 4))}
    assert dict(schedule.schedule.withdrawals()) == dict.fromkeys((tile for tile in TILES if tile in sent), WITHDRAWN)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 60])
def test_few_texels_are_no_tile(schedule: Schedule, count: int) -> None:
    rng, texels = np.random.default_rng(count), len(schedule.layout.texel)
    for _ in range(4):
        seen = np.zeros(texels, np.bool_)
        seen[rng.choice(texels, count, replace=False)] = True
        sent = [entry for _ in range(4) for entry in schedule.observe(flat(schedule.layout, 90), seen)]
        assert all(size > len(WITHDRAWN) for _, size in sent)
