import numpy as np
import pytest

from common.blobs import COLOURS, TEXTURE, Blob
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.texture.atlas_tiles import TILES, WITHDRAWN, Tile
from common.texture.point_colours import decode
from sender.texture import stage as stage_module
from sender.texture.point_colour_memory import PointColourMemory
from sender.texture.stage import TextureStage
from tests.support.synthetic_observation import RenderedPerson

SPACE = LabelSpace.load()


@pytest.fixture
def texture_stage(model: BodyModel) -> TextureStage:
    return TextureStage(SPACE, model)


@pytest.fixture
def observations(monkeypatch: pytest.MonkeyPatch) -> list[PointColourMemory]:
    """The memory of each observation made."""
    memories: list[PointColourMemory] = []
    real = PointColourMemory.add

    def recorded(self: PointColourMemory, *arguments: object) -> None:
        memories.append(self)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PointColourMemory, "add", recorded)
    return memories


def update(texture_stage: TextureStage, rendered: RenderedPerson, *identities: int) -> list[tuple[int, bytes]]:
    observed = [rendered.observed(identity) for identity in identities]
    people = [rendered.labels(SPACE, identity) for identity in identities]
    return colours_of(texture_stage.update(rendered.frame, observed, people))


def colours_of(blobs: list[Blob]) -> list[tuple[int, bytes]]:
    return [(blob.key, blob.data) for blob in blobs if blob.kind == COLOURS]


def test_sent_colours_are_those_of_the_image_and_stop(texture_stage: TextureStage, front: RenderedPerson) -> None:
    assert update(texture_stage, front) == []
    sent = [(number, *entry) for number in range(500) for entry in update(texture_stage, front, 7)]
    assert 1 <= len(sent) <= 4 and sent[-1][0] < 200
    assert {identity for _, identity, _ in sent} == {7}
    received = decode(sent[-1][2])
    visible = received.seen & front.truly_visible()
    error = np.abs(received.colours[visible].astype(float) - front.colours_at_points()[visible])
    assert received.seen.mean() > 0.15 and error.mean() < 8


def test_each_person_is_observed_in_every_fifth_frame(
    texture_stage: TextureStage, front: RenderedPerson, observations: list[PointColourMemory]
) -> None:
    for _ in range(25):
        update(texture_stage, front, 1, 2)
    assert len(observations) == 10 and [observations.count(memory) for memory in set(observations)] == [5, 5]


def test_one_person_is_observed_or_has_a_tile_sent_per_frame(
    texture_stage: TextureStage, front: RenderedPerson, observations: list[PointColourMemory]
) -> None:
    for _ in range(stage_module._FIRST_OBSERVATION_FRAMES):
        update(texture_stage, front, *range(8))
    assert not observations
    observed = [front.observed(identity) for identity in range(8)]
    people = [front.labels(SPACE, identity) for identity in range(8)]
    tiles = 0
    for frame in range(80):
        before = len(observations)
        updates = texture_stage.update(front.frame, observed, people)
        sent = sum(blob.kind == TEXTURE for blob in updates)
        assert sent + len(observations) - before <= 1, frame
        tiles += sent
    times = [observations.count(memory) for memory in set(observations)]
    assert len(times) == 8 and max(times) - min(times) <= 1 and tiles >= 8


def test_colours_of_forgotten_person_are_withdrawn(
    texture_stage: TextureStage, front: RenderedPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_FORGET_AFTER_FRAMES", 12)
    while not update(texture_stage, front, 3):
        pass
    sent = [entry for _ in range(30) for entry in update(texture_stage, front)]
    assert [identity for identity, _ in sent] == [3]
    assert not decode(sent[0][1]).seen.any() and len(sent[0][1]) < 40


def test_short_absence_keeps_colours(
    texture_stage: TextureStage, front: RenderedPerson, observations: list[PointColourMemory]
) -> None:
    while not update(texture_stage, front, 3):
        pass
    assert all(not update(texture_stage, front) for _ in range(100))
    for _ in range(10):
        update(texture_stage, front, 3)
    assert len(set(observations)) == 1


def test_reset_withdraws_colours(
    texture_stage: TextureStage, front: RenderedPerson, observations: list[PointColourMemory]
) -> None:
    while not update(texture_stage, front, 3):
        pass
    texture_stage.reset()
    sent = update(texture_stage, front, 4)
    assert [identity for identity, _ in sent] == [3] and not decode(sent[0][1]).seen.any()
    while len(observations) < 4:
        update(texture_stage, front, 4)
    assert len(set(observations)) == 2


def test_colours_of_a_picture_come_at_once_and_of_everybody(
    model: BodyModel, front: RenderedPerson, observations: list[PointColourMemory]
) -> None:
    texture_stage = TextureStage(SPACE, model, stills=True)
    observed = [front.observed(identity) for identity in (4, 9)]
    people = [front.labels(SPACE, identity) for identity in (4, 9)]
    blobs = texture_stage.update(front.frame, observed, people)
    tiles = [Tile.of_key(blob.key) for blob in blobs if blob.kind == TEXTURE]
    finest = [tile for tile in TILES if tile.level == TILES[-1].level]
    assert tiles == [(tile, identity) for identity in (4, 9) for tile in finest]
    sent = colours_of(blobs)
    assert [identity for identity, _ in sent] == [4, 9] and len(observations) == 2
    received = decode(sent[1][1])
    visible = received.seen & front.truly_visible()
    error = np.abs(received.colours[visible].astype(float) - front.colours_at_points()[visible])
    assert received.seen.mean() > 0.15 and error.mean() < 8
    # Nothing is remembered.
    texture_stage.reset()
    assert texture_stage.update(front.frame, [], []) == []


def tiles_of(
    texture_stage: TextureStage, rendered: RenderedPerson, identity: int, frames: int
) -> list[list[tuple[Tile, int, bytes]]]:
    """The tiles that each frame sends."""
    observed, people = [rendered.observed(identity)], [rendered.labels(SPACE, identity)]
    sent = [texture_stage.update(rendered.frame, observed, people) for _ in range(frames)]
    return [[(*Tile.of_key(blob.key), blob.data) for blob in blobs if blob.kind == TEXTURE] for blobs in sent]


def test_the_whole_body_comes_first_and_few_tiles_at_a_time(texture_stage: TextureStage, front: RenderedPerson) -> None:
    sent = tiles_of(texture_stage, front, 5, 40)
    assert max(map(len, sent)) == 1
    tiles = [entry for frame in sent for entry in frame]
    assert {identity for _, identity, _ in tiles} == {5}
    assert [tile.level for tile, _, _ in tiles].count(1) == 1 == tiles[0][0].level
    assert len({tile.level for tile, _, _ in tiles}) > 1
    # Everything that shows the person fits in a few dozen kilobytes.
    assert 3_000 < sum(len(data) for _, _, data in tiles) < 40_000


def test_tiles_of_a_still_person_stop(texture_stage: TextureStage, front: RenderedPerson) -> None:
    sent = tiles_of(texture_stage, front, 0, 300)
    assert any(sent[:60]) and not any(sent[200:])


def test_tiles_of_a_forgotten_person_are_withdrawn(texture_stage: TextureStage, front: RenderedPerson) -> None:
    before = {tile for frame in tiles_of(texture_stage, front, 3, 40) for tile, _, _ in frame}
    texture_stage.reset()
    sent = [blob for blob in texture_stage.update(front.frame, [], []) if blob.kind == TEXTURE]
    assert {Tile.of_key(blob.key) for blob in sent} == {(tile, 3) for tile in before}
    assert all(blob.data == WITHDRAWN for blob in sent)
