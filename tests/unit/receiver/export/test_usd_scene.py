"""USDZ: what OpenUSD reads from the file, and what its validators say."""

import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UsageError
from receiver.export.character import Character
from receiver.export.recorded_session import read_session
from receiver.export.rigging import LeftOut, rig
from receiver.export.usd_scene import check_installed, encode_usdz
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.support.motion.recorded_motion import Pose, publish_motion, random_poses, rest_mesh

FRAMES = 6


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Character]:
    """Two people with a texture each, the second from the third frame on."""
    pytest.importorskip("pxr.UsdSkel", reason="usd-core is not installed: pip install 'bodywire[usd]'")
    out = tmp_path_factory.mktemp("out")
    late: list[Pose | None] = [None, None, *random_poses(FRAMES - 2, seed=2)]
    session = read_session(publish_motion(out, [random_poses(FRAMES), late]), 1)
    rigged = [rig(person, session.people[person], LeftOut()) for person in (0, 1)]
    return [replace(each, texture=texture(each.mesh), present=session.present[each.identity]) for each in rigged]


@pytest.fixture(scope="module")
def package(people: list[Character], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "session.usdz"
    path.write_bytes(encode_usdz(people))
    return path


def test_nothing_is_written_to_the_terminal(people: list[Character], capfd: pytest.CaptureFixture[str]) -> None:
    """The packaging of usd-core warns that it cannot find the first of two textures."""
    encode_usdz(people)
    assert capfd.readouterr() == ("", "")


def texture(mesh: SurfaceMesh) -> MeshTexture:
    """A picture, grey at the top and white at the bottom, of which each triangle has a part of its own."""
    coordinates = np.random.default_rng(4).random((*mesh.faces.shape, 2)).astype(np.float32)
    picture = np.full((16, 16, 3), 90, np.uint8)
    picture[8:] = 255
    return MeshTexture(TextureCorners.from_triangles(mesh.faces, coordinates), encode_jpeg(picture))


def test_skinned_mesh_is_that_of_the_session(package: Path) -> None:
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(str(package))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert stage.GetTimeCodesPerSecond() == 20.0 and stage.GetEndTimeCode() == pytest.approx(FRAMES - 1)
    for person, first, seed in ((0, 0, 7), (1, 2, 2)):
        mesh = UsdGeom.Mesh.Get(stage, f"/session/person_{person}/mesh")
        skeleton = UsdSkel.Skeleton.Get(stage, f"/session/person_{person}/skeleton")
        root = UsdSkel.Root.Get(stage, f"/session/person_{person}")
        cache = UsdSkel.Cache()
        cache.Populate(root, Usd.TraverseInstanceProxies())
        skinning, query = cache.GetSkinningQuery(mesh.GetPrim()), cache.GetSkelQuery(skeleton)
        low, high = (np.array(corner) for corner in root.GetExtentAttr().Get())
        for number, pose in enumerate(random_poses(FRAMES - first, seed)):
            points = mesh.GetPointsAttr().Get()
            transforms = query.ComputeSkinningTransforms(first + number)
            assert skinning.ComputeSkinnedPoints(transforms, points, first + number)
            np.testing.assert_allclose(np.array(points), pose.vertices(), atol=1e-4)
            assert (np.array(points) >= low).all() and (np.array(points) <= high).all()


def test_who_is_away_is_invisible(package: Path) -> None:
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(package))
    first, second = (UsdGeom.Imageable.Get(stage, f"/session/person_{person}") for person in (0, 1))
    assert [second.ComputeVisibility(time) for time in (0.0, 1.9, 2.0, 4.0)] == ["invisible"] * 2 + ["inherited"] * 2
    assert not first.GetVisibilityAttr().HasAuthoredValue()


def test_texture_is_in_the_package_and_each_corner_has_its_place(package: Path) -> None:
    from pxr import Usd, UsdGeom, UsdShade

    stage = Usd.Stage.Open(str(package))
    mesh = UsdGeom.Mesh.Get(stage, "/session/person_1/mesh")
    material, _ = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()
    source, _, _ = material.ComputeSurfaceSource()[0].GetInput("diffuseColor").GetConnectedSource()
    with zipfile.ZipFile(package) as parts:
        picture = Image.open(io.BytesIO(parts.read(source.GetPrim().GetAttribute("inputs:file").Get().path)))
    assert picture.getpixel((2, 2)) == (90, 90, 90) and picture.getpixel((2, 14)) == (255, 255, 255)
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    assert st.GetInterpolation() == "faceVarying"
    expected = texture(rest_mesh()).corners
    np.testing.assert_allclose(
        np.array(st.ComputeFlattened()), expected.coordinates[expected.faces.ravel()] * [1, -1] + [0, 1], atol=1e-6
    )
    assert source.GetInput("st").GetConnectedSource()[0].GetInput("varname").Get() == "st"


def test_validators_have_nothing_to_say(package: Path) -> None:
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core is too old for validators")
    from pxr import Usd

    registry = validation.ValidationRegistry()
    validators = registry.GetOrLoadAllValidators()
    assert len(validators) > 10
    errors = validation.ValidationContext(validators).Validate(Usd.Stage.Open(str(package)))
    assert [f"{error.GetName()}: {error.GetMessage()}" for error in errors] == []


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    monkeypatch.setitem(sys.modules, "pxr.UsdSkel", None)
    with pytest.raises(UsageError, match=r'pip install "bodywire\[usd\]"'):
        check_installed()
