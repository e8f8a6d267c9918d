"""Live faces on meshes: where they lie, and their light."""

import numpy as np

from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.frames import PersonLabels
from common.texture.face_picture import FaceChart
from receiver.mesh.mesh_texture import TextureCorners
from receiver.texture.live_face import face_places, in_light_of, with_still_eyes
from receiver.texture.painting import template_corners

BODY = BodyModel.load()
TEMPLATE = BodyTemplate.from_model(BODY)
CORNERS = template_corners(BODY, TEMPLATE)


def test_vertices_of_the_template_have_their_places() -> None:
    chart, places = FaceChart.load(), face_places(CORNERS, CORNERS)
    np.testing.assert_allclose(places[chart.vertices, :2], chart.places, atol=2e-3)
    np.testing.assert_allclose(places[chart.vertices, 2], chart.opacity, atol=2e-2)
    feet = TEMPLATE.rest[CORNERS.vertex, 1] > 0.5
    assert feet.any() and not places[feet, 2].any()


def test_a_coarser_mesh_lies_under_the_same_face() -> None:
    some = TextureCorners(CORNERS.vertex[::3], CORNERS.coordinates[::3] + np.float32(1e-4), CORNERS.faces)
    whole, coarse = face_places(CORNERS, CORNERS)[::3], face_places(some, CORNERS)
    skin = whole[:, 2] > 0.9
    assert np.abs(coarse[skin, :2] - whole[skin, :2]).max() < 0.02


def test_a_face_has_the_light_of_its_texture_and_keeps_its_features() -> None:
    places = face_places(CORNERS, CORNERS)
    across = np.mgrid[:128, :128][1] / 128
    picture = np.stack([60 + 60 * across] * 3, axis=-1)
    picture[60:63, 60:63] = 20
    skin = np.full((len(places), 3), (150, 110, 90), np.uint8)
    lit = in_light_of(picture.astype(np.uint8), places, skin).astype(float)
    middle = lit[35:95, 35:95]
    assert np.abs(np.median(middle, axis=(0, 1)) - (150, 110, 90)).max() < 12
    assert np.abs(middle[:, 5].mean(axis=0) - middle[:, -5].mean(axis=0)).max() < 30
    assert lit[61, 61, 0] < 0.4 * lit[61, 70, 0]


def test_eyes_are_still_but_lids_are_not() -> None:
    eyes = np.array([0.5, 1.0, -1.0, 0.2], np.float32)
    still = with_still_eyes(PersonLabels(0, 1.0, {"eyes": eyes}))
    assert still.labels["eyes"].tolist() == np.array([0.5, 0, 0, 0.2], np.float32).tolist() and eyes[1] == 1
    assert with_still_eyes(PersonLabels(0, 1.0, {})).labels == {}
