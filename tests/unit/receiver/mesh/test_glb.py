import dataclasses

import numpy as np

from receiver.mesh.glb import read_colours, static_mesh_glb
from tests.support.glb_reader import Glb
from tests.support.posed_body import box


def test_static_mesh_has_the_vertices_and_faces_of_the_mesh() -> None:
    mesh = box()
    glb = Glb(static_mesh_glb(mesh))
    primitive = glb.document["meshes"][0]["primitives"][0]
    np.testing.assert_array_equal(glb.array(primitive["attributes"]["POSITION"]), mesh.vertices)
    np.testing.assert_array_equal(glb.array(primitive["indices"]).reshape(-1, 3), mesh.faces)


def test_colours_are_linear() -> None:
    mesh = box(colours=True)
    glb = Glb(static_mesh_glb(mesh))
    stored = glb.array(glb.document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])[:, :3] / 65535.0
    assert mesh.colours is not None
    srgb = np.where(stored <= 0.0031308, stored * 12.92, 1.055 * stored ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(srgb * 255.0, mesh.colours, atol=0.2)


def test_read_colours_inverts_the_writer() -> None:
    mesh = box(colours=True)
    read = read_colours(static_mesh_glb(mesh))
    assert read is not None and mesh.colours is not None
    np.testing.assert_array_equal(read, mesh.colours)
    assert read_colours(static_mesh_glb(dataclasses.replace(mesh, colours=None))) is None


def test_coloured_files_say_that_the_face_is_invented() -> None:
    mesh = box(colours=True)
    assert "no likeness" in Glb(static_mesh_glb(mesh)).document["asset"]["extras"]["invented"]
    assert "extras" not in Glb(static_mesh_glb(dataclasses.replace(mesh, colours=None))).document["asset"]
