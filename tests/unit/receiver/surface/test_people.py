"""A texture whose colours say where on the body they are, on a surface that was solved around it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import ATLAS_SIZE, JOINTS
from common.body.label_space import SurfaceSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.body.triangles import triangle_normals
from common.texture.atlas import AtlasLayout
from common.weights.devices import to_numpy
from receiver.body.skinning import BodySkin
from receiver.config import SurfaceConfig
from receiver.mesh.mesh_texture import MeshTexture, encode_jpeg, sample_jpeg
from receiver.mesh.skinned_glb import PosedBody
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.binding import PosedTemplate, SurfaceBinding, nearest_places
from receiver.surface.people import PeopleSurfaces, carried_texture
from receiver.texture.face_features import FaceGeometry
from receiver.texture.painting import template_corners
from tests.bench.measures import Surface, is_watertight_piece, surface_distances
from tests.support.meshes.posed_body import carried_surface
from tests.support.meshes.posed_templates import pose, templates
from tests.support.meshes.shapes import solved, sphere
from tests.support.motion.recorded_person import body_parameters


@pytest.fixture(scope="module")
def skin() -> BodySkin:
    return BodySkin.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def surfaces(skin: BodySkin) -> PeopleSurfaces:
    face = FaceGeometry(skin.model, skin.template)
    corners = template_corners(skin.model, skin.template)
    return PeopleSurfaces(SurfaceConfig(), skin.model, skin.template, face, SurfaceSpace.load().mean, corners)


@pytest.fixture(scope="module")
def person(skin: BodySkin) -> PosedBody:
    """In a random pose, with the place at rest as colour: from foot to head red, from right to left green."""
    layout, rest = AtlasLayout.from_body(skin.model), to_numpy(skin.model.rest_vertices)[0]
    low, high = rest.min(axis=0), rest.max(axis=0)
    places = np.einsum("tk,tkc->tc", layout.barycentric, rest[layout.corners])
    colours = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    colours[layout.texel, :2] = np.rint(255 * ((places - low) / (high - low))[:, [1, 0]])
    picture = encode_jpeg(layout.extended(colours.reshape(ATLAS_SIZE, ATLAS_SIZE, 3)))
    corners = template_corners(skin.model, skin.template)
    posed = pose(skin, templates(skin, body_parameters()), 0)
    return replace(posed, texture=MeshTexture(corners, picture, 0.25))


@pytest.mark.parametrize("still", [True, False])
def test_points_of_the_surface_have_the_colour_of_the_skin_below(
    surfaces: PeopleSurfaces, person: PosedBody, still: bool
) -> None:
    assert person.texture is not None
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


PEOPLE = 4


@pytest.fixture(scope="module")
def bodies(skin: BodySkin) -> list[PosedBody]:
    generator = torch.Generator().manual_seed(3)
    rotations = axis_angle_to_matrix(0.2 * torch.randn(PEOPLE, 22, 3, generator=generator))
    rest = BodyParameters.rest(PEOPLE)
    shape = torch.randn(PEOPLE, 10, generator=generator)
    with torch.inference_mode():
        output = templates(skin, BodyParameters(rotations, rest.curl, shape, rest.translation))
    return [pose(skin, output, row) for row in range(PEOPLE)]


def measured(mesh: SurfaceMesh) -> Surface:
    return Surface(mesh.vertices, mesh.faces)


def test_carried_surface_is_one_watertight_piece_near_the_solved_one(
    surfaces: PeopleSurfaces, bodies: list[PosedBody]
) -> None:
    for body in bodies:
        mesh, solved = carried_surface(surfaces, body), surfaces.solved(body, 300.0, 1)
        assert is_watertight_piece(mesh.vertices, mesh.faces)
        assert surface_distances(measured(mesh), measured(solved))["chamfer_mm"] < 3


def test_everybody_has_the_same_triangles(surfaces: PeopleSurfaces, bodies: list[PosedBody]) -> None:
    first, *others = (carried_surface(surfaces, body) for body in bodies)
    assert all(other.faces is first.faces for other in others)


@pytest.mark.parametrize("arms_deg", [0, 35], ids=["half raised", "hanging"])
def test_no_edge_is_stretched_where_arms_and_shoulders_fold(
    surfaces: PeopleSurfaces, skin: BodySkin, arms_deg: float
) -> None:
    turns = torch.zeros(1, len(JOINTS), 3)
    for joint, sign in (("upperarm01.L", 1), ("upperarm01.R", -1)):
        turns[0, JOINTS.index(joint), 2] = sign * np.deg2rad(arms_deg)
    arms = replace(BodyParameters.rest(), rotations=axis_angle_to_matrix(turns))
    with torch.inference_mode():
        mesh = carried_surface(surfaces, pose(skin, templates(skin, arms)))
    lengths = np.linalg.norm(np.diff(mesh.vertices[mesh.faces[:, [0, 1, 2, 0]]], axis=1), axis=2)
    assert lengths.max() < 0.06


def test_places_of_detail_follow_the_posed_face(surfaces: PeopleSurfaces, skin: BodySkin) -> None:
    rest = skin.template.rest
    at_rest, there = (
        surfaces._face_places((rest + shift).astype(np.float32)) for shift in (np.zeros(3), np.array([1.0, 2.0, 3.0]))
    )
    np.testing.assert_allclose(there.centres - at_rest.centres, np.tile([1.0, 2.0, 3.0], (5, 1)), atol=1e-5)
    eyes = rest[FaceGeometry(skin.model, skin.template).eye_vertices].mean(axis=0)
    assert (np.linalg.norm(at_rest.centres - eyes, axis=1) < 0.08).all()


NOBODY_TURNED = np.eye(3, dtype=np.float32)[None]
QUARTER_TURN: FloatArray = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]], np.float32)


@pytest.fixture(scope="module")
def template() -> SurfaceMesh:
    """A fine sphere."""
    mesh = solved(*sphere(), resolution=96)
    colours = np.where(mesh.vertices[:, :1] < 0, [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    return SurfaceMesh(mesh.vertices, mesh.faces, colours)


@pytest.fixture(scope="module")
def mesh() -> SurfaceMesh:
    """A coarse sphere around the same centre."""
    return solved(*sphere(), resolution=48)


def bound(mesh: SurfaceMesh, template: SurfaceMesh, smoothing_iterations: int) -> SurfaceBinding:
    weights = np.ones((len(template.vertices), 1), np.float32)
    posed = PosedTemplate(template.vertices, NOBODY_TURNED, weights, template.faces)
    return SurfaceBinding.bind(mesh, posed, smoothing_iterations)


def carried(binding: SurfaceBinding, vertices: FloatArray, rotations: FloatArray) -> FloatArray:
    """The mesh of the second of two people; the first is somewhere else."""
    both = (torch.from_numpy(np.stack([each + 1, each])) for each in (vertices, rotations))
    return np.asarray(binding.carrying(*both)[1].numpy())


@pytest.mark.parametrize("smoothing_iterations", [0, 1])
def test_mesh_is_itself_in_the_pose_that_it_was_bound_in(
    mesh: SurfaceMesh, template: SurfaceMesh, smoothing_iterations: int
) -> None:
    found = carried(bound(mesh, template, smoothing_iterations), template.vertices, NOBODY_TURNED)
    np.testing.assert_allclose(found, mesh.vertices, atol=1e-6)


@pytest.mark.parametrize("smoothing_iterations", [0, 1])
def test_mesh_turns_and_moves_with_the_template(
    mesh: SurfaceMesh, template: SurfaceMesh, smoothing_iterations: int
) -> None:
    step = np.array([0.3, -0.2, 1.0], np.float32)
    turned, expected = (vertices @ QUARTER_TURN[0].T + step for vertices in (template.vertices, mesh.vertices))
    found = carried(bound(mesh, template, smoothing_iterations), turned, QUARTER_TURN)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mesh_follows_a_template_that_grows(mesh: SurfaceMesh, template: SurfaceMesh) -> None:
    thicker = template.vertices + np.float32(0.05) * vertex_normals(template.vertices, template.faces)
    found = carried(bound(mesh, template, 1), thicker, NOBODY_TURNED)
    radii = np.linalg.norm(found - [0.0, 0.0, 3.0], axis=1)
    assert np.abs(radii - 0.55).max() < 0.006


def test_vertices_take_the_colours_of_their_places(mesh: SurfaceMesh, template: SurfaceMesh) -> None:
    assert template.colours is not None
    colours = bound(mesh, template, 1).coloured(template.colours)
    for side, colour in ((mesh.vertices[:, 0] < -0.02, [255, 0, 0]), (mesh.vertices[:, 0] > 0.02, [0, 0, 255])):
        assert (colours[side] == colour).all()


def test_place_is_on_a_triangle_that_faces_the_same_way() -> None:
    """Of a thin sheet, the near side faces away from the point's normal."""
    side: FloatArray = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    vertices = np.concatenate([side, side + np.array([0, 0, -0.01], np.float32)])
    faces = np.array([[0, 1, 2], [3, 5, 4]], np.int32)
    point: FloatArray = np.array([[0.2, 0.2, 0.01]], np.float32)
    down: FloatArray = np.array([[0, 0, -1]], np.float32)
    for normal, triangle in ((-down, 0), (down, 1)):
        assert nearest_places(point, normal, vertices, faces)[0].tolist() == [triangle]
