"""Faces that are drawn where the received colours show none."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.atlas import AtlasLayout
from receiver.texture.face_detail import FaceDetail
from receiver.texture.face_features import FaceFeatures, FaceGeometry

LIGHT, DARK = (215, 175, 150), (95, 62, 48)
BLOND, BLACK = (190, 160, 110), (30, 24, 22)
ALL = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)


@pytest.fixture(scope="module")
def face(body: BodyModel, template: BodyTemplate, layout: AtlasLayout) -> FaceDetail:
    return FaceDetail(body, template, layout)


@pytest.fixture(scope="module")
def features(body: BodyModel, template: BodyTemplate) -> FaceFeatures:
    """At the template's vertices."""
    return FaceGeometry(body, template).at_vertices


@pytest.fixture(scope="module")
def at_texels(body: BodyModel, template: BodyTemplate, layout: AtlasLayout) -> FaceFeatures:
    return FaceGeometry(body, template).features(template.place[layout.corners], layout.barycentric)


@pytest.fixture(scope="module")
def eyeless(layout: AtlasLayout, at_texels: FaceFeatures) -> np.ndarray:
    """(S, S) all texels but the eyeballs' are known."""
    known = ALL.copy()
    known.reshape(-1)[layout.texel[at_texels.eyes > 0.1]] = False
    return known


def atlas_of(layout: AtlasLayout, skin: tuple[int, int, int], hair: tuple[int, int, int]) -> np.ndarray:
    """A person without a face."""
    atlas = np.full((ATLAS_SIZE**2, 3), skin, np.uint8)
    atlas[layout.texel[layout.region == REGION_INDEX["scalp"]]] = hair
    return layout.extended(atlas.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))


def vertices_of(template: BodyTemplate, skin: tuple[int, int, int], hair: tuple[int, int, int]) -> np.ndarray:
    colours = np.full((len(template), 3), skin, np.uint8)
    colours[template.region == REGION_INDEX["scalp"]] = hair
    return colours


def luma(colours: np.ndarray) -> np.ndarray:
    return np.asarray(colours.astype(np.float64) @ [0.299, 0.587, 0.114])


def test_lips_are_redder_and_brows_darker_than_the_skin(
    face: FaceDetail, template: BodyTemplate, features: FaceFeatures
) -> None:
    for skin in (LIGHT, DARK):
        drawn = face.on_vertices(vertices_of(template, skin, BLACK)).astype(float)
        lips = np.median(drawn[features.lips > 0.9], axis=0)
        assert lips[0] / lips[1] > 1.1 * skin[0] / skin[1] and luma(lips) < luma(np.array(skin))
        assert np.median(luma(drawn[features.brows > 0.9])) < 0.7 * luma(np.array(skin))
        assert np.median(luma(drawn[features.pupils > 0.9])) < 40


def test_eyes_and_brows_follow_hair_and_skin(face: FaceDetail, template: BodyTemplate, features: FaceFeatures) -> None:
    fair, dark = (face.on_vertices(vertices_of(template, *tones)) for tones in ((LIGHT, BLOND), (LIGHT, BLACK)))
    iris = (features.iris > 0.9) & (features.pupils < 0.1) & (features.limbus < 0.1) & (features.lid_shadow < 0.1)
    brown, grey = (np.median(drawn[iris], axis=0).astype(float) for drawn in (dark, fair))
    assert brown[0] > 1.5 * brown[2] and grey[2] > grey[0]
    brows = features.brows > 0.9
    assert luma(fair[brows]).mean() > luma(dark[brows]).mean() + 10


def test_bald_people_have_brows(face: FaceDetail, template: BodyTemplate, features: FaceFeatures) -> None:
    drawn = face.on_vertices(vertices_of(template, LIGHT, LIGHT))
    assert luma(drawn[features.brows > 0.9]).mean() < 0.75 * luma(np.array(LIGHT))


def test_only_the_head_changes(face: FaceDetail, template: BodyTemplate, layout: AtlasLayout) -> None:
    before = vertices_of(template, LIGHT, BLACK)
    changed = (face.on_vertices(before) != before).any(axis=1)
    assert changed.any() and template.rest[changed, 1].max() < -0.6
    atlas = atlas_of(layout, LIGHT, BLACK)
    different = (face.on_atlas(atlas, ALL) != atlas).any(axis=2).ravel()
    head = np.isin(layout.region, [REGION_INDEX["face"], REGION_INDEX["scalp"]])
    assert different.any() and not different[layout.texel[~head]].any()


def test_received_face_with_detail_stays_as_it_is_but_for_its_eyes(
    face: FaceDetail, layout: AtlasLayout, at_texels: FaceFeatures, eyeless: np.ndarray
) -> None:
    """A face that shows features, here those that were drawn on another one, is not drawn over."""
    sharp = face.on_atlas(atlas_of(layout, LIGHT, BLACK), eyeless)
    after = face.on_atlas(sharp, eyeless)
    outside = layout.texel[(at_texels.eyes < 0.1) & (at_texels.throat < 0.1)]
    np.testing.assert_array_equal(after.reshape(-1, 3)[outside], sharp.reshape(-1, 3)[outside])


def test_nothing_but_the_mouth_is_drawn_where_eyes_were_received(
    face: FaceDetail, layout: AtlasLayout, at_texels: FaceFeatures
) -> None:
    """Of somebody with fair brows and pale lips, too; eyelids are no eyes."""
    plain = atlas_of(layout, LIGHT, BLOND)
    for shades, changing in (True, ()), (False, ("eyes",)):
        received = plain.copy()
        if shades:
            received.reshape(-1, 3)[layout.texel[at_texels.eyes > 0.1]] = BLACK
        changed = (face.on_atlas(received, ALL) != received).any(axis=2).reshape(-1)[layout.texel]
        inside = np.max([at_texels.throat, *(getattr(at_texels, name) for name in changing)], axis=0)
        assert changed.any() and (inside[changed] > 0.9).all()
        assert changed[at_texels.iris > 0.9].mean() == (0 if shades else 1)


def test_eyes_in_a_dark_picture_do_not_glow(face: FaceDetail, template: BodyTemplate, features: FaceFeatures) -> None:
    white = (features.eyes > 0.9) & (features.iris < 0.1)
    lumas = [luma(face.on_vertices(vertices_of(template, skin, BLACK))[white]).max() for skin in (DARK, (25, 16, 12))]
    assert lumas[0] > 120 and lumas[1] < 100


def test_blurred_face_gets_detail(face: FaceDetail, layout: AtlasLayout, eyeless: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1.5, (ATLAS_SIZE, ATLAS_SIZE, 1))
    featureless = (atlas_of(layout, LIGHT, BLACK) + noise).clip(0, 255).astype(np.uint8)
    change = np.abs(face.on_atlas(featureless, eyeless).astype(float) - featureless).max()
    assert change > 100


def test_detail_of_an_unknown_face_does_not_count(face: FaceDetail, layout: AtlasLayout) -> None:
    sharp = face.on_atlas(atlas_of(layout, LIGHT, BLACK), ALL)
    assert (face.on_atlas(sharp, ~ALL) != sharp).any()
