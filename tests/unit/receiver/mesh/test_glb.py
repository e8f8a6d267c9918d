import dataclasses

import numpy as np
import pytest

from receiver.mesh.body_file import GlbReader
from receiver.mesh.glb import GlbWriter, static_mesh_glb
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_body import box
from tests.support.meshes.shapes import solved, sphere


def test_coloured_files_say_that_the_face_is_invented() -> None:
    mesh = box(colours=True)
    extras = Glb(static_mesh_glb(mesh)).document["asset"]["extras"]
    assert "no likeness" in extras["invented"] and "no camera has seen" in extras["invented"]
    assert "unseen_share" not in extras
    assert "extras" not in Glb(static_mesh_glb(dataclasses.replace(mesh, colours=None))).document["asset"]


def textured(unseen_share: float | None) -> tuple[SurfaceMesh, MeshTexture]:
    mesh = box()
    corners = TextureCorners.from_triangles(mesh.faces, np.zeros((len(mesh.faces), 3, 2), np.float32))
    return mesh, MeshTexture(corners, encode_jpeg(np.full((8, 8, 3), 90, np.uint8)), unseen_share)


def test_textured_files_say_how_much_was_not_seen() -> None:
    assert Glb(static_mesh_glb(*textured(0.4321987))).document["asset"]["extras"]["unseen_share"] == 0.4322
    assert "unseen_share" not in Glb(static_mesh_glb(*textured(None))).document["asset"]["extras"]


def test_largest_unseen_share_of_several_counts() -> None:
    writer = GlbWriter()
    for share in (0.2, 0.6, None, 0.4):
        primitive = writer.add_triangles(*textured(share))
    content = writer.to_bytes({"meshes": [{"primitives": [primitive]}]})
    assert (texture := GlbReader(content).mesh()[1]) is not None and texture.unseen_share == 0.6


@pytest.mark.parametrize("said", ["much", None, -0.1, 1.5, float("nan"), [0.5]])
def test_what_is_no_share_is_not_read(said: object) -> None:
    reader = GlbReader(static_mesh_glb(*textured(0.5)))
    for extras in ({"extras": {"unseen_share": said}}, {}):
        reader.document["asset"] = extras
        assert (texture := reader.mesh()[1]) is not None and texture.unseen_share is None


@pytest.mark.parametrize("colours", [False, True])
def test_quantised_mesh_has_twenty_four_bytes_a_vertex_and_keeps_its_normals(colours: bool) -> None:
    sphere_mesh = solved(*sphere())
    levels = np.full(sphere_mesh.vertices.shape, 90, np.uint8)
    mesh = dataclasses.replace(sphere_mesh, colours=levels if colours else None)
    content = static_mesh_glb(mesh, quantised=True)
    assert len(content) < 24 * len(mesh.vertices) + 1600
    reader = GlbReader(content)
    normals = reader.array(reader.attributes["NORMAL"]).reshape(-1, 3) / 127
    np.testing.assert_allclose(normals, vertex_normals(mesh.vertices, mesh.faces), atol=0.005)
    read = reader.mesh()[0]
    assert np.abs(read.vertices - mesh.vertices).max() < 0.51 * np.ptp(mesh.vertices, axis=0).max() / 65_535 + 1e-6
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert (read.colours is not None) == colours


def test_quantised_mesh_that_is_not_finite_is_refused() -> None:
    mesh = box()
    mesh.vertices[3, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        static_mesh_glb(mesh, quantised=True)
