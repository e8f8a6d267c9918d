"""Surfaces of people in the networks' absence: the bare body in random poses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.body.anatomy import JOINTS
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.body.surface_space import SurfaceSpace
from receiver.body.skinning import BodySkin
from receiver.config import SurfaceConfig
from receiver.mesh.skinned_glb import PosedBody
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.people import PeopleSurfaces
from receiver.texture.face_features import FaceGeometry
from receiver.texture.painting import template_corners
from tests.bench.measures import Surface, is_watertight_piece, surface_distances
from tests.support.meshes.posed_body import carried_surface
from tests.support.meshes.posed_templates import pose, templates

PEOPLE = 4


@pytest.fixture(scope="module")
def skin() -> BodySkin:
    return BodySkin.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def surfaces(skin: BodySkin) -> PeopleSurfaces:
    face = FaceGeometry(skin.model, skin.template)
    corners = template_corners(skin.model, skin.template)
    return PeopleSurfaces(SurfaceConfig(), skin.model, skin.template, face, SurfaceSpace.load().mean, corners)


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
