"""Live faces on meshes: where they lie, and their light."""

import numpy as np

from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.frames import PersonLabels
from common.texture.face_picture import FaceChart, LandmarkShapes
from receiver.mesh.mesh_texture import TextureCorners
from receiver.texture.live_face import FaceLaying, face_places, in_light_of, with_still_eyes
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


def test_a_mesh_is_moved_to_where_the_picture_had_the_face() -> None:
    laying, chart = FaceLaying(CORNERS, CORNERS), FaceChart.load()
    mesh = TEMPLATE.rest + np.array([0.1, 0.2, 2.0], np.float32)
    at_rest = laying.residual(mesh, LandmarkShapes.load().mean)
    assert at_rest is not None and np.abs(at_rest).max() < 0.03
    skin = chart.vertices[chart.opacity > 0.95]
    smile = np.zeros((len(chart.landmarks), 2), np.float32)
    smile[:, 1] = -0.01 * (chart.landmarks[:, 1] > 0.7)
    moved = laying.moved(mesh, smile) - mesh
    low = chart.places[chart.opacity > 0.95, 1]
    assert np.abs(moved[skin[low > 0.78], 1] + 0.01).max() < 1e-3 and np.abs(moved[skin[low < 0.6]]).max() < 1e-3
    assert not moved[TEMPLATE.rest[:, 1] > 0].any() and not moved[:, 2].any()
    seen = mesh[chart.vertices, :2] / mesh[chart.vertices, 2:]
    assert np.isfinite(seen).all()
    again = laying.residual(laying.moved(mesh, at_rest), LandmarkShapes.load().mean)
    assert again is not None and np.abs(again).mean() < 0.5 * np.abs(at_rest).mean()


def test_what_is_no_face_is_not_moved() -> None:
    laying = FaceLaying(CORNERS, CORNERS)
    assert laying.residual(TEMPLATE.rest, LandmarkShapes.load().mean) is None, "it is behind the camera"
    feet = np.flatnonzero(TEMPLATE.rest[CORNERS.vertex, 1] > 0.5)[:4]
    some = TextureCorners(np.arange(4), CORNERS.coordinates[feet], np.array([[0, 1, 2]], np.int32))
    assert FaceLaying(some, CORNERS).residual(np.ones((4, 3), np.float32), LandmarkShapes.load().mean) is None


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
