"""Which tiles are sent, of atlases that tests paint."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.texture.atlas import TILES, WITHDRAWN, AtlasLayout, Tile
from receiver.texture.received_texture import ReceivedTexture
from sender.face.actions import FaceActions
from sender.face.landmarks import IRIS_POINTS, LID_POINTS
from sender.texture.atlas import AtlasMemory, AtlasView
from sender.texture.texture_stage import TextureStage, TileSchedule
from tests.support.pictures.synthetic_observation import CAMERA, RenderedPerson
from tests.support.pictures.tracked_people import TrackedPeople


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


SPACE = LabelSpace.load()


class Clip(TrackedPeople):
    """What the stage makes of people from frame to frame."""

    def __init__(self, stage: TextureStage) -> None:
        super().__init__()
        self._stage = stage

    def update(self, rendered: RenderedPerson, *identities: int, time_s: float = 0.0) -> list[tuple[Tile, int, bytes]]:
        """The tiles that a frame of these people sends."""
        observed = [rendered.observed(identity) for identity in identities]
        people = [rendered.labels(SPACE, identity) for identity in identities]
        perceived = self.perceived(replace(rendered.frame, media_time_s=time_s), observed)
        return [(*Tile.of_key(blob.key), blob.data) for blob in self._stage.update(perceived, people)]


@pytest.fixture
def clip(model: BodyModel) -> Clip:
    return Clip(TextureStage(SPACE, model))


@pytest.fixture
def observations(monkeypatch: pytest.MonkeyPatch) -> list[AtlasMemory]:
    """The memory of each observation made."""
    memories: list[AtlasMemory] = []
    real = AtlasMemory.add

    def recorded(self: AtlasMemory, view: AtlasView) -> float:
        memories.append(self)
        return real(self, view)

    monkeypatch.setattr(AtlasMemory, "add", recorded)
    return memories


def test_each_person_is_observed_in_every_fifth_frame_while_there_is_something_new(
    clip: Clip, front: RenderedPerson, back: RenderedPerson, observations: list[AtlasMemory]
) -> None:
    for number in range(10):
        clip.update((front, back)[number // 5], 1, 2)
    assert len(observations) == 4 and [observations.count(memory) for memory in set(observations)] == [2, 2]


def test_propagated_masks_are_not_read(clip: Clip, front: RenderedPerson, observations: list[AtlasMemory]) -> None:
    person = replace(front.observed(1), is_propagated=True)
    for number in range(30):
        frame = replace(front.frame, media_time_s=number / 30)
        clip._stage.update(clip.perceived(frame, [person]), [front.labels(SPACE, 1)])
    assert not observations


def test_who_shows_nothing_new_is_observed_less_often_until_they_turn(
    clip: Clip, front: RenderedPerson, back: RenderedPerson, observations: list[AtlasMemory]
) -> None:
    def frames(number: int, person: RenderedPerson) -> list[int]:
        """Those in which the person was observed."""
        counts = [(len(observations), clip.update(person, 1), len(observations)) for _ in range(number)]
        return [frame for frame, (before, _, after) in enumerate(counts) if after > before]

    assert np.diff(frames(200, front))[-3:].tolist() == [20, 20, 20]
    assert np.diff(frames(40, back)).tolist()[0] <= 8


def test_one_person_is_observed_or_has_a_tile_sent_per_frame(
    clip: Clip, front: RenderedPerson, observations: list[AtlasMemory]
) -> None:
    for _ in range(2):
        clip.update(front, *range(4))
    assert not observations
    tiles = 0
    for frame in range(40):
        before = len(observations)
        sent = len(clip.update(front, *range(4)))
        assert sent + len(observations) - before <= 1, frame
        tiles += sent
    times = [observations.count(memory) for memory in set(observations)]
    assert len(times) == 4 and max(times) - min(times) <= 1 and tiles >= 4


def test_colours_of_forgotten_person_are_withdrawn(clip: Clip, front: RenderedPerson) -> None:
    clip._forget_s = 0.4
    while not clip.update(front, 3):
        pass
    sent = [entry for _ in range(30) for entry in clip.update(front)]
    assert sent and all((identity, data) == (3, WITHDRAWN) for _, identity, data in sent)


def test_short_absence_keeps_colours(clip: Clip, front: RenderedPerson, observations: list[AtlasMemory]) -> None:
    while not clip.update(front, 3):
        pass
    assert all(not clip.update(front) for _ in range(45))
    for _ in range(10):
        clip.update(front, 3)
    assert len(set(observations)) == 1


def test_reset_withdraws_all_tiles(clip: Clip, front: RenderedPerson, observations: list[AtlasMemory]) -> None:
    before = {tile for _ in range(40) for tile, _, _ in clip.update(front, 3)}
    clip.reset()
    sent = clip.update(front, 4)
    assert len(before) > 1 and {(tile, identity) for tile, identity, _ in sent} == {(tile, 3) for tile in before}
    assert all(data == WITHDRAWN for _, _, data in sent)
    observed = len(observations)
    while len(observations) == observed:
        clip.update(front, 4)
    assert len(set(observations)) == 2


def test_colours_of_a_picture_come_at_once_and_of_everybody(model: BodyModel, front: RenderedPerson) -> None:
    clip = Clip(TextureStage(SPACE, model, stills=True))
    sent = clip.update(front, 4, 9)
    finest = [tile for tile in TILES if tile.level == TILES[-1].level]
    assert [(tile, identity) for tile, identity, _ in sent] == [(tile, each) for each in (4, 9) for tile in finest]
    received = ReceivedTexture()
    for tile, identity, data in sent:
        if identity == 9:
            received = received.with_tile(tile, data)
    assert received.texture().known.mean() > 0.1
    # Nothing is remembered.
    clip.reset()
    assert clip.update(front) == []


def test_the_whole_body_comes_first_few_tiles_at_a_time_and_none_of_who_stays_as_they_are(
    clip: Clip, front: RenderedPerson
) -> None:
    sent = [clip.update(front, 5) for _ in range(260)]
    assert max(map(len, sent)) == 1 and not any(sent[200:])
    tiles = [entry for frame in sent[:40] for entry in frame]
    assert {identity for _, identity, _ in tiles} == {5}
    assert [tile.level for tile, _, _ in tiles].count(1) == 1 == tiles[0][0].level
    assert len({tile.level for tile, _, _ in tiles}) > 1
    # Everything that shows the person fits in a few dozen kilobytes.
    assert 2_000 < sum(len(data) for _, _, data in tiles) < 40_000


@pytest.mark.parametrize("fps", [5, 240])
def test_first_colours_come_within_a_second_at_any_frame_rate(
    clip: Clip, front: RenderedPerson, observations: list[AtlasMemory], fps: int
) -> None:
    number = 0
    while not clip.update(front, 3, time_s=number / fps):
        number += 1
    assert number / fps <= 1.0 and len(observations) == pytest.approx(3, abs=1)


def test_colours_of_a_brief_clip_come_with_the_first_frame_of_everybody(
    model: BodyModel, front: RenderedPerson, observations: list[AtlasMemory]
) -> None:
    clip = Clip(TextureStage(SPACE, model, brief=True))
    finest = [tile for tile in TILES if tile.level == TILES[-1].level]
    for identities in ((4,), (4, 9)):
        sent = clip.update(front, *identities)
        assert [(tile, identity) for tile, identity, _ in sent] == [(tile, identities[-1]) for tile in finest]
        assert any(data != WITHDRAWN for *_, data in sent)
    # Then as in any clip.
    assert max(len(clip.update(front, 4, 9)) for _ in range(20)) == 1
    assert len(set(observations)) == 4


def test_face_is_seen_where_its_landmarks_are(model: BodyModel, layout: AtlasLayout, front: RenderedPerson) -> None:
    clip, face = Clip(TextureStage(SPACE, model, stills=True)), layout.region == REGION_INDEX["face"]
    vertices = model(front.parameters).vertices[0].numpy()
    head = model.vertex_region.numpy() == REGION_INDEX["face"]
    nose = CAMERA.project(vertices[np.where(head, vertices[:, 2], np.inf).argmin()][None])[0]
    template = FaceActions.load().template.numpy() * CAMERA.focal_px / vertices[:, 2].mean()
    shares = []
    for aside in (0.0, 150.0):
        points = template + np.array([nose[0] + aside, nose[1], 0]).astype(np.float32)
        eyes = np.zeros((2 * (LID_POINTS + IRIS_POINTS), 3), np.float32)
        labels = replace(front.labels(SPACE, 1), face_landmarks=np.concatenate([points, eyes]).astype(np.float32))
        received = ReceivedTexture()
        for blob in clip._stage.update(clip.perceived(front.frame, [front.observed(1)]), [labels]):
            received = received.with_tile(Tile.of_key(blob.key)[0], blob.data)
        shares.append(received.texture().known.reshape(-1)[layout.texel[face]].mean())
    assert shares[0] > 0.15 and shares[1] < 0.02
