import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from common.errors import OutputError
from receiver.mesh.body_file import read_mesh
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.glb import LINEAR
from receiver.mesh.mesh_files import encode_mesh, to_y_up
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight
from receiver.publish.files import publish_file
from tests.support.meshes.posed_body import box
from tests.support.meshes.shapes import solved, sphere


def written(folder: Path, mesh: SurfaceMesh, mesh_format: str, *, quantised: bool = False) -> Path:
    path = folder / f"surface.{mesh_format}"
    publish_file(path, encode_mesh(mesh, mesh_format, quantised=quantised))
    return path


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("mesh_format", MESH_FORMATS)
def test_closed_mesh_is_read_as_it_was_also_by_readers_that_merge_vertices(
    tmp_path: Path, mesh_format: str, quantised: bool
) -> None:
    mesh = solved(*sphere())
    path = written(tmp_path, mesh, mesh_format, quantised=quantised)
    assert os.listdir(tmp_path) == [path.name]
    read = read_mesh(path)
    assert is_watertight(read.faces, len(read.vertices))
    assert read.faces.shape == mesh.faces.shape
    np.testing.assert_allclose(read.vertices[read.faces], mesh.vertices[mesh.faces], atol=1e-5)
    merged = trimesh.load(path, force="mesh")
    assert isinstance(merged, trimesh.Trimesh)
    assert merged.is_watertight and merged.is_winding_consistent and merged.volume > 0.0


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("mesh_format", MESH_FORMATS)
def test_written_mesh_is_y_up_and_has_its_colours(tmp_path: Path, mesh_format: str, quantised: bool) -> None:
    mesh = box(colours=True, lift_m=0.7)
    path = written(tmp_path, mesh, mesh_format, quantised=quantised)
    read = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(read.bounds.mean(axis=0), [0.1, 0.7, -3.0], atol=1e-5)
    colours = read_mesh(path).colours
    assert colours is not None and mesh.colours is not None
    # Levels of linear light are 13 levels of sRGB apart in the dark.
    np.testing.assert_allclose(colours.astype(int), mesh.colours.astype(int), atol=7 if quantised else 1)
    assert isinstance(read.visual, trimesh.visual.ColorVisuals) and read.visual.kind == "vertex"
    # glTF's colours are linear light, which trimesh shows as it is.
    expected = np.rint(255 * LINEAR[mesh.colours]) if mesh_format == "glb" else mesh.colours
    np.testing.assert_array_equal(np.asarray(read.visual.vertex_colors)[:, :3], expected)


def test_to_y_up_is_its_own_inverse_and_keeps_the_winding() -> None:
    points = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    np.testing.assert_array_equal(to_y_up(to_y_up(points)), points)
    assert np.linalg.det(to_y_up(np.eye(3, dtype=np.float32))) == pytest.approx(1.0)


def test_encode_mesh_rejects_an_unknown_format() -> None:
    with pytest.raises(ValueError, match="glb, obj, ply"):
        encode_mesh(box(), "stl")


def test_read_mesh_names_the_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "broken.glb").write_bytes(b"glTF" + bytes(3))
    with pytest.raises(ValueError, match=r"broken\.glb"):
        read_mesh(tmp_path / "broken.glb")
    with pytest.raises(ValueError, match=r"missing\.ply"):
        read_mesh(tmp_path / "missing.ply")


def test_publish_file_keeps_the_old_file_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.json"
    publish_file(path, b"old")

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OutputError, match=r"index\.json: No space left on device"):
        publish_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["index.json"]
