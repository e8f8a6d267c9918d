"""Faces of which one side was seen."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import numpy as np
import pytest

from common.arrays import BoolArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX, REGIONS
from common.body.model import BodyModel
from common.texture.atlas import TILES, AtlasLayout, Texture, encode
from receiver.body.skinning import BodySkin
from receiver.mesh.mesh_texture import sample_jpeg
from receiver.outfits.dressing import PARTS
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import FaceMirror, Paint, Painter
from receiver.texture.received_texture import ReceivedTexture

FACE = REGION_INDEX["face"]


@pytest.fixture(scope="module")
def left(layout: AtlasLayout) -> BoolArray:
    """(T,) one of each pair of texels of the face that mirror each other."""
    paired = (layout.region == FACE) & (layout.mirror >= 0) & (layout.region[layout.mirror] == FACE)
    return np.asarray(paired & (layout.texel // ATLAS_SIZE > layout.texel[layout.mirror] // ATLAS_SIZE))


def texture_of(layout: AtlasLayout, colours: np.ndarray, known: BoolArray) -> Texture:
    whole, mask = np.zeros((ATLAS_SIZE**2, 3), np.uint8), np.zeros(ATLAS_SIZE**2, np.bool_)
    whole[layout.texel], mask[layout.texel] = colours, known
    return Texture(whole.reshape(ATLAS_SIZE, ATLAS_SIZE, 3), mask.reshape(ATLAS_SIZE, ATLAS_SIZE))


def test_other_side_is_the_one_that_was_seen(layout: AtlasLayout, left: BoolArray) -> None:
    colours = np.random.default_rng(0).integers(60, 200, (len(layout.texel), 3))
    whole = FaceMirror(layout).completed(texture_of(layout, colours, left))
    right = np.flatnonzero(~left & (layout.mirror >= 0) & left[layout.mirror])
    right = right[layout.region[right] == FACE]
    texels = layout.texel[right]
    assert len(right) > 5000 and whole.known.reshape(-1)[texels].all()
    # Beside the middle, both of a pair may lie on one side.
    equal = whole.colours.reshape(-1, 3)[texels] == colours[layout.mirror[right]]
    assert equal.mean() > 0.75
    outside = layout.region != FACE
    assert not whole.known.reshape(-1)[layout.texel[outside]].any()


def test_darker_side_stays_darker(layout: AtlasLayout, left: BoolArray) -> None:
    lower = layout.texel % ATLAS_SIZE > 440
    face = layout.region == FACE
    colours = np.where(left, 150, 120)[:, None].repeat(3, axis=1)
    whole = FaceMirror(layout).completed(texture_of(layout, colours, left | (face & lower)))
    near = face & ~left & (layout.mirror >= 0) & (np.abs(layout.texel % ATLAS_SIZE - 436) < 4)
    near &= np.abs(layout.texel // ATLAS_SIZE - 230) < 20
    filled = whole.colours.reshape(-1, 3)[layout.texel[near]]
    assert near.sum() > 50 and np.abs(filled.astype(int) - 120).mean() < 6


def test_face_that_was_seen_stays(layout: AtlasLayout) -> None:
    texture = texture_of(layout, np.full((len(layout.texel), 3), 90), np.ones(len(layout.texel), np.bool_))
    assert FaceMirror(layout).completed(texture) is texture


GREY = np.full((len(REGIONS), 3), 0.5, np.float32)


@pytest.fixture(scope="module")
def skin(body: BodyModel) -> BodySkin:
    return BodySkin.from_model(body)


@pytest.fixture
def painter(body: BodyModel, skin: BodySkin, layout: AtlasLayout) -> Painter:
    """One that has painted nobody."""
    return Painter(body, skin.template, layout, FaceDetail(body, skin.template, layout))


def received_of(layout: AtlasLayout, seen: BoolArray, colour: tuple[int, int, int]) -> ReceivedTexture:
    """A texture in one colour, of which the texels (T,) that were seen are known."""
    whole, known = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), colour, np.uint8), np.zeros(ATLAS_SIZE**2, np.bool_)
    known[layout.texel] = seen
    return ReceivedTexture().with_tile(TILES[0], encode(TILES[0], whole, known.reshape(ATLAS_SIZE, ATLAS_SIZE)))


def region_pattern(layout: AtlasLayout) -> np.ndarray:
    """(T, 3) a colour per body region, the same on both sides."""
    stems = [name.split(".")[0] for name in REGIONS]
    colour = np.array([(40 * len(stem)) % 256 for stem in stems])
    return np.stack([colour, 255 - colour, colour // 2], axis=1)[layout.region].astype(np.uint8)


def test_paint_reaches_texture_and_vertices(layout: AtlasLayout, skin: BodySkin, painter: Painter) -> None:
    colours = region_pattern(layout)
    whole = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    whole[layout.texel] = colours
    whole = layout.extended(whole.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))
    received = ReceivedTexture()
    for tile in TILES[-16:]:
        received = received.with_tile(tile, encode(tile, whole, np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)))
    paint = painter.paint(received, GREY)
    expected = {region: colours[layout.region == region][0] for region in range(len(REGIONS))}
    for region, colour in expected.items():
        found = paint.vertices[skin.template.region == region]
        np.testing.assert_allclose(np.median(found, axis=0), colour, atol=8)
    corners = paint.texture.corners
    at_corners = sample_jpeg(paint.texture.jpeg, corners.coordinates)
    error = np.abs(at_corners[: len(paint.vertices)].astype(int) - paint.vertices)
    assert np.median(error) <= 3 and len(paint.texture.jpeg) < 60_000
    assert painter.paint(received, GREY + 0.2) is paint, "all was seen"


def test_colour_of_a_part_that_nobody_saw_is_painted_again_when_it_changes(
    layout: AtlasLayout, skin: BodySkin, painter: Painter
) -> None:
    legs = np.isin(
        layout.region, [REGION_INDEX[f"{name}.{side}"] for name in ("thigh", "shin", "foot") for side in "LR"]
    )
    received = received_of(layout, legs, (90, 90, 90))
    upper = skin.template.region == REGION_INDEX["chest"]
    part = np.where(upper, PARTS.index("top"), PARTS.index("bottom"))
    paint, chest, thighs = painter.paint(received, GREY, part), GREY.copy(), GREY.copy()
    chest[REGION_INDEX["chest"]], thighs[REGION_INDEX["thigh.L"]] = 0.8, 0.8
    assert paint.unseen == ("top",)
    same = (GREY + 0.01, part), (thighs, part), (GREY, part.copy())
    assert all(painter.paint(received, *each) is paint for each in same)
    assert painter.paint(received, chest, part) is not paint


class Aside:
    """Does what it is given when it is told to."""

    def __init__(self) -> None:
        self.given: list[tuple[Future[Paint], Callable[[], Paint]]] = []

    def submit(self, function: Callable[..., Paint], *arguments: object) -> "Future[Paint]":
        self.given.append((Future(), partial(function, *arguments)))
        return self.given[-1][0]

    def work(self) -> None:
        for future, work in self.given:
            try:
                future.set_result(work())
            except ValueError as error:
                future.set_exception(error)
        self.given = []


def test_live_person_has_the_last_paint_until_the_next_is_dry(
    layout: AtlasLayout,
    skin: BodySkin,
    painter: Painter,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aside = Aside()
    painter._aside = cast(Any, aside)
    whole, known = np.zeros((ATLAS_SIZE, ATLAS_SIZE, 3), np.uint8), np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    received = [ReceivedTexture()]
    for tile, grey in zip(TILES[-3:], (90, 60, 30), strict=True):
        received.append(received[-1].with_tile(tile, encode(tile, whole + np.uint8(grey), known)))
    _, first, *later = received
    before = painter.paint(first, GREY, may_wait=True)
    assert not aside.given, "there is nothing to show before"
    assert all(painter.paint(each, GREY, may_wait=True) is before for each in later) and len(aside.given) == 1
    aside.work()
    between = painter.paint(later[0], GREY, may_wait=True)
    assert between is not before and painter.paint(later[1], GREY, may_wait=True) is between
    monkeypatch.setattr(painter, "_paint", lambda *_: int("no number"))
    aside.work()
    assert "keeps the last colours" in caplog.text
    assert painter.paint(later[1], GREY, may_wait=True) is between and len(aside.given) == 1, "it is tried again"
    monkeypatch.undo()
    assert painter.paint(later[1], GREY) not in (before, between), "who waits has the newest"
    dressed = np.zeros(len(skin.template), np.int64)
    aside.given = []
    painter.paint(later[1], GREY, dressed, may_wait=True)
    assert not aside.given, "other clothes have other colours"


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        (("face", "scalp", "chest", "upper_arm", "forearm", "hand"), ("bottom", "shoes")),
        (("hips", "thigh", "shin", "foot"), ("layer",)),
    ],
)
def test_clothes_that_nobody_saw_are_no_overall(
    layout: AtlasLayout, skin: BodySkin, painter: Painter, seen: tuple[str, ...], unseen: tuple[str, ...]
) -> None:
    names = np.array([name.split(".")[0] for name in REGIONS])
    received = received_of(layout, np.isin(names[layout.region], seen), (200, 20, 20))
    region = names[skin.template.region]
    parts = {"hips": "bottom", "thigh": "bottom", "shin": "bottom", "foot": "shoes", "chest": "top", "upper_arm": "top"}
    part = np.array([PARTS.index(parts.get(name, "skin")) for name in region])
    for worn in (None, part):
        paint = painter.paint(received, GREY, worn)
        assert paint.texture.unseen == unseen
        colours = paint.vertices.astype(int)
        for name in ("chest", "thigh", "shin", "foot"):
            is_red = (colours[region == name][:, 0] - colours[region == name][:, 2] > 100).mean() > 0.9
            assert is_red == (name in seen), name


@pytest.mark.parametrize("seen", [False, True])
def test_hair_that_no_tile_shows_has_the_colour_of_its_label(
    layout: AtlasLayout, skin: BodySkin, painter: Painter, seen: bool
) -> None:
    """It never has the colour of the skin beside it."""
    scalp, blond = REGION_INDEX["scalp"], (0.8, 0.7, 0.4)
    shown = [REGION_INDEX["face"], *([scalp] if seen else [])]
    received = received_of(layout, np.isin(layout.region, shown), (150, 100, 80))
    regions = GREY.copy()
    regions[scalp] = blond
    part = np.where(skin.template.region == scalp, PARTS.index("hair"), 0)
    paint = painter.paint(received, regions, part)
    hair = np.median(paint.vertices[skin.template.region == scalp], axis=0)
    np.testing.assert_allclose(hair, (150, 100, 80) if seen else 255 * np.array(blond), atol=12)
    assert not {"hair", "headwear"} & set(paint.texture.unseen)


def test_hair_that_nobody_saw_is_brown_and_not_like_skin(layout: AtlasLayout, skin: BodySkin, painter: Painter) -> None:
    """Where no scalp was seen, its label has the colour of the face."""
    scalp, tone = skin.template.region == REGION_INDEX["scalp"], (0.8, 0.6, 0.5)
    regions = np.full((len(REGIONS), 3), tone, np.float32)
    paint = painter.paint(ReceivedTexture(), regions, np.where(scalp, PARTS.index("hair"), 0))
    hair = paint.vertices[scalp].astype(int)
    assert np.median(hair.max(axis=1)) < 80 and (np.median(hair, axis=0)[0] > np.median(hair, axis=0)[2])
