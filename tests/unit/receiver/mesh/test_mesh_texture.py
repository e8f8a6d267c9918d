"""Textured meshes in GLB files."""

import dataclasses
import io

import numpy as np
import pytest
import trimesh
from PIL import Image as Picture

from receiver.mesh.body_file import read_body, read_mesh
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg, sample_jpeg
from receiver.mesh.skinned_glb import encode_body
from receiver.publish.files import publish_file
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_body import posed_box


def gradient() -> np.ndarray:
    """(64, 64, 3): red grows to the right, green downwards."""
    row, column = np.mgrid[:64, :64] * 4
    return np.stack([column, row, np.full_like(row, 60)], axis=-1).astype(np.uint8)


def coordinates_of(faces: np.ndarray) -> np.ndarray:
    """(F, 3, 2) coordinates with a seam: every second triangle is elsewhere in the picture."""
    base = np.random.default_rng(0).random((faces.max() + 1, 2))[faces] * 0.4
    base[::2] += 0.5
    return np.asarray(base, np.float32)


def test_corners_split_vertices_on_seams_only() -> None:
    body, _ = posed_box()
    coordinates = coordinates_of(body.mesh.faces)
    corners = TextureCorners.from_triangles(body.mesh.faces, coordinates)
    np.testing.assert_array_equal(corners.vertex[corners.faces], body.mesh.faces)
    np.testing.assert_allclose(corners.coordinates[corners.faces], coordinates, atol=1e-4)
    np.testing.assert_array_equal(corners.vertex[: len(body.mesh.vertices)], np.arange(len(body.mesh.vertices)))
    assert len(body.mesh.vertices) < len(corners.vertex) <= 2 * len(body.mesh.vertices)


def textured_box(at_m: float = 1.0) -> tuple[bytes, MeshTexture]:
    """The box, from so far away that float32 may have the same place for several of its vertices."""
    body, skeleton = posed_box()
    far = (body.mesh.vertices * np.float32(1e-3) + np.float32(at_m)) if at_m > 1 else body.mesh.vertices
    body = dataclasses.replace(body, mesh=dataclasses.replace(body.mesh, vertices=far))
    corners = TextureCorners.from_triangles(body.mesh.faces, coordinates_of(body.mesh.faces))
    texture = MeshTexture(corners, encode_jpeg(gradient()))
    return encode_body(dataclasses.replace(body, texture=texture), skeleton), texture


def test_textured_body_has_the_picture_and_no_vertex_colours() -> None:
    content, texture = textured_box()
    document = Glb(content).document
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    assert "COLOR_0" not in attributes and "TEXCOORD_0" in attributes
    material = document["materials"][0]["pbrMetallicRoughness"]
    assert document["textures"][material["baseColorTexture"]["index"]]["source"] == 0
    counts = {document["accessors"][accessor]["count"] for accessor in attributes.values()}
    assert counts == {len(texture.corners.vertex)}


def test_other_readers_find_the_texture() -> None:
    content, texture = textured_box()
    loaded = trimesh.load_scene(io.BytesIO(content), file_type="glb", process=False)
    (mesh,) = loaded.geometry.values()
    picture = mesh.visual.material.baseColorTexture
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(Picture.open(io.BytesIO(texture.jpeg))))
    # trimesh's v runs upwards.
    np.testing.assert_allclose(mesh.visual.uv * [1, -1] + [0, 1], texture.corners.coordinates, atol=1e-6)


def test_read_mesh_has_the_colours_of_the_texture(tmp_path) -> None:  # type: ignore[no-untyped-def]
    content, texture = textured_box()
    publish_file(tmp_path / "body.glb", content)
    read = read_mesh(tmp_path / "body.glb")
    assert read.colours is not None
    at = texture.corners.coordinates[: len(read.vertices)] * 64 * 4
    assert np.abs(read.colours[:, :2] - at).mean() < 6


def test_read_files_have_no_seams(tmp_path) -> None:  # type: ignore[no-untyped-def]
    content, _ = textured_box()
    body, skeleton = posed_box()
    publish_file(tmp_path / "body.glb", content)
    read, file = read_mesh(tmp_path / "body.glb"), read_body(tmp_path / "body.glb")
    np.testing.assert_allclose(read.vertices, body.mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, body.mesh.faces)
    np.testing.assert_array_equal(file.mesh.faces, body.mesh.faces)
    np.testing.assert_array_equal(file.skeleton.vertex_joints, skeleton.vertex_joints)


def test_vertices_that_coincide_stay_apart(tmp_path) -> None:  # type: ignore[no-untyped-def]
    content, texture = textured_box(at_m=20_000.0)
    body, skeleton = posed_box()
    publish_file(tmp_path / "body.glb", content)
    read = read_body(tmp_path / "body.glb")
    assert len(np.unique(read.mesh.vertices, axis=0)) < len(read.mesh.vertices) == len(body.mesh.vertices)
    assert read.texture is not None
    np.testing.assert_array_equal(read.texture.corners.coordinates, texture.corners.coordinates)
    np.testing.assert_array_equal(read.skeleton.vertex_joints, skeleton.vertex_joints)


def test_picture_that_is_too_large_for_a_texture_is_not_decoded() -> None:
    encoded = bytearray(encode_jpeg(gradient()))
    frame = encoded.index(b"\xff\xc0")
    encoded[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match=r"65535 × 65535 pixels|no picture"):
        sample_jpeg(bytes(encoded), np.zeros((1, 2), np.float32))
