"""A texture whose colours say where on the body they are, on a surface that was solved around it."""

from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.body.triangles import triangle_normals
from common.texture.atlas import AtlasLayout
from common.weights.devices import to_numpy
from receiver.body.skinning import BodySkin
from receiver.config import SurfaceConfig
from receiver.mesh.mesh_texture import MeshTexture, encode_jpeg, sample_jpeg
from receiver.mesh.skinned_glb import PosedBody
from receiver.surface.binding import nearest_places
from receiver.surface.people import PeopleSurfaces, carried_texture
from receiver.texture.face_features import FaceGeometry
from receiver.texture.painting import template_corners
from tests.support.meshes.posed_body import carried_surface
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.recorded_person import body_parameters


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def person(body: BodyModel) -> PosedBody:
    """In a random pose, with the place at rest as colour: from foot to head red, from right to left green."""
    skin, layout = BodySkin.from_model(body), AtlasLayout.from_body(body)
    rest = to_numpy(body.rest_vertices)[0]
    low, high = rest.min(axis=0), rest.max(axis=0)
    places = np.einsum("tk,tkc->tc", layout.barycentric, rest[layout.corners])
    colours = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    colours[layout.texel, :2] = np.rint(255 * ((places - low) / (high - low))[:, [1, 0]])
    picture = encode_jpeg(layout.extended(colours.reshape(ATLAS_SIZE, ATLAS_SIZE, 3)))
    corners = template_corners(body, skin.template)
    posed = pose(skin, templates(skin, body_parameters()), 0)
    return replace(posed, texture=MeshTexture(corners, picture, 0.25))


@pytest.mark.parametrize("still", [True, False])
def test_points_of_the_surface_have_the_colour_of_the_skin_below(
    body: BodyModel, person: PosedBody, still: bool
) -> None:
    skin = BodySkin.from_model(body)
    face = FaceGeometry(body, skin.template)
    assert person.texture is not None
    surfaces = PeopleSurfaces(
        SurfaceConfig(), body, skin.template, face, SurfaceSpace.load().mean, person.texture.corners
    )
    if still:
        mesh = surfaces.solved(person, 300.0, 1)
        shown = carried_texture(mesh, person.mesh, person.texture)
    else:
        mesh = carried_surface(surfaces, person)
        shown = replace(person.texture, corners=surfaces.corners)
    assert shown.jpeg == person.texture.jpeg and shown.unseen_share == 0.25
    np.testing.assert_array_equal(shown.corners.vertex[shown.corners.faces], mesh.faces)
    assert len(shown.corners.vertex) < 1.35 * len(mesh.vertices)
    # Points within the triangles, where a triangle across a seam would show.
    weights = np.random.default_rng(5).dirichlet((1, 1, 1), len(mesh.faces)).astype(np.float32)
    points = np.einsum("fk,fkc->fc", weights, mesh.vertices[mesh.faces])
    coordinates = np.einsum("fk,fkc->fc", weights, shown.corners.coordinates[shown.corners.faces])
    colours = sample_jpeg(shown.jpeg, coordinates).astype(float)
    normals = triangle_normals(mesh.vertices, mesh.faces)
    below, places = nearest_places(points, normals, person.mesh.vertices, person.mesh.faces)
    texture = person.texture.corners
    expected = sample_jpeg(
        person.texture.jpeg, np.einsum("fk,fkc->fc", places, texture.coordinates[texture.faces[below]])
    ).astype(float)
    difference = np.abs(colours - expected)[:, :2].max(axis=1)
    assert np.mean(difference > 12) < 0.02
    assert np.mean(difference) < 3
