"""The reconstructor with the networks that ship: colours of surface points reach both meshes."""

import numpy as np
import pytest
import torch

from common.body.anatomy import POINTS, REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import split
from common.texture.point_colours import PointColours
from receiver.diffusion.stage import SamplingConfig
from receiver.engine.reconstruction import ReconstructedPerson, Reconstructor
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.metrics import ReceiverMetrics
from receiver.surface.stage import SurfaceConfig

NOBODY = PointColours(np.zeros((POINTS, 3), np.uint8), np.zeros(POINTS, np.bool_))


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor.load(SamplingConfig(), SurfaceConfig(), ReceiverMetrics())


def frame(*identities: int) -> LabelFrame:
    """So many people at rest in plain green, without their appearance where the identity is odd."""
    green = torch.tensor([0.2, 0.6, 0.2]).expand(1, len(REGIONS), 3)
    labels = split(LabelSpace.load().encode(BodyParameters.rest(), green)[0].numpy())
    plain = {name: entries for name, entries in labels.items() if name != "appearance"}
    people = [PersonLabels(who, 1.0, plain if who % 2 else labels) for who in identities]
    return LabelFrame(0, "test", 0.0, Camera(640, 480, 600.0), tuple(people))


def upper_red_lower_blue() -> PointColours:
    body = BodyModel.load()
    height = body.surface_points(body.rest_vertices[:1])[0][0, :, 1].numpy()
    colours = np.where((height < np.median(height))[:, None], [255, 0, 0], [0, 0, 255]).astype(np.uint8)
    return PointColours(colours, np.ones(POINTS, np.bool_))


def off_by(person: ReconstructedPerson, plain: ReconstructedPerson) -> tuple[float, float]:
    """Mean difference of the colours of surface and body, 0…255."""
    return _difference(person.surface, plain.surface), _difference(person.body.mesh, plain.body.mesh)


def _difference(one: SurfaceMesh, other: SurfaceMesh) -> float:
    assert one.colours is not None and other.colours is not None
    return float(np.abs(one.colours.astype(float) - other.colours).mean())


@pytest.mark.parametrize("identity", [0, 1], ids=["with appearance", "before any appearance"])
def test_point_colours_reach_surface_and_body(reconstructor: Reconstructor, identity: int) -> None:
    person = reconstructor.reconstruct(frame(identity), {}, colours={identity: upper_red_lower_blue()})[0]
    for mesh in (person.surface, person.body.mesh):
        assert mesh.colours is not None and mesh.colours.dtype == np.uint8
        low, high = np.percentile(mesh.vertices[:, 1], [15, 85])
        np.testing.assert_array_equal(np.median(mesh.colours[mesh.vertices[:, 1] < low], axis=0), [255, 0, 0])
        np.testing.assert_array_equal(np.median(mesh.colours[mesh.vertices[:, 1] > high], axis=0), [0, 0, 255])


def test_they_change_colours_and_nothing_else(reconstructor: Reconstructor) -> None:
    plain = reconstructor.reconstruct(frame(0), {})[0]
    coloured = reconstructor.reconstruct(frame(0), {}, colours={0: upper_red_lower_blue()})[0]
    np.testing.assert_array_equal(plain.surface.vertices, coloured.surface.vertices)
    np.testing.assert_array_equal(plain.body.mesh.vertices, coloured.body.mesh.vertices)
    assert min(off_by(coloured, plain)) > 60


def test_they_belong_to_one_identity(reconstructor: Reconstructor) -> None:
    plain = reconstructor.reconstruct(frame(0, 2), {})
    coloured = reconstructor.reconstruct(frame(0, 2), {}, colours={2: upper_red_lower_blue()})
    assert off_by(coloured[0], plain[0]) == (0, 0) and min(off_by(coloured[1], plain[1])) > 60


def test_nothing_seen_is_as_nothing_sent(reconstructor: Reconstructor) -> None:
    plain = reconstructor.reconstruct(frame(0), {})[0]
    assert off_by(reconstructor.reconstruct(frame(0), {}, colours={0: NOBODY})[0], plain) == (0, 0)
