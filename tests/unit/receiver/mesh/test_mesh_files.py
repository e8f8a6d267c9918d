import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image as Picture

from common.errors import OutputError
from common.frames import Camera
from receiver.mesh.body_file import read_body, read_mesh
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.glb import LINEAR
from receiver.mesh.mesh_files import encode_mesh, to_y_up
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg, sample_jpeg
from receiver.mesh.render import depth_map, render
from receiver.mesh.skinned_glb import encode_body
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight, signed_volume_m3, vertex_normals
from receiver.publish.files import publish_file
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_body import box, posed_box
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


def test_is_watertight_detects_a_missing_and_a_flipped_triangle() -> None:
    mesh = box()
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert is_watertight(mesh.faces, len(mesh.vertices))
    assert not is_watertight(mesh.faces[1:], len(mesh.vertices))
    assert not is_watertight(flipped, len(mesh.vertices))


def test_signed_volume_is_negative_for_inward_winding() -> None:
    mesh = box()
    assert signed_volume_m3(mesh.vertices, mesh.faces) == pytest.approx(0.4 * 1.6 * 0.3, rel=1e-4)
    assert signed_volume_m3(mesh.vertices, mesh.faces[:, ::-1]) == pytest.approx(-0.4 * 1.6 * 0.3, rel=1e-4)


def test_vertex_normals_point_outwards_and_have_unit_length() -> None:
    mesh = box()
    normals = vertex_normals(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    outwards = mesh.vertices - mesh.vertices.mean(axis=0)
    assert (np.einsum("vk,vk->v", normals, outwards) > 0.0).all()


CAMERA = Camera(200, 160, 240.0)


def test_silhouette_of_a_sphere_is_a_disc() -> None:
    mesh = solved(*sphere())
    covered = depth_map(mesh, CAMERA) > 0
    # The image of a sphere of radius r at distance d has the radius f · r / √(d² − r²).
    radius = 240.0 * 0.5 / np.sqrt(3.0**2 - 0.5**2)
    rows, columns = np.mgrid[0:160, 0:200] + 0.5
    disc = np.hypot(columns - 100.0, rows - 80.0) < radius
    assert (covered & disc).sum() / (covered | disc).sum() > 0.96


def test_render_is_brighter_towards_the_light() -> None:
    mesh = solved(*sphere())
    image = render(mesh, CAMERA)
    assert image[60, 85].mean() > 1.5 * image[100, 115].mean(), "the light comes from above, on the left"


def test_near_mesh_occludes_far_mesh() -> None:
    near, far = box(), box()
    vertices = np.concatenate([near.vertices - np.array([0.0, 0.0, 1.0], np.float32), far.vertices])
    faces = np.concatenate([near.faces, far.faces + len(near.vertices)]).astype(np.int32)
    red, blue = np.full((len(near.vertices), 3), [255, 0, 0]), np.full((len(far.vertices), 3), [0, 0, 255])
    mesh = SurfaceMesh(vertices, faces, np.concatenate([red, blue]).astype(np.uint8))
    image = render(mesh, CAMERA)
    red, green, blue = image[80, 105].tolist()
    assert red > 100 and green == blue == 0


def test_render_omits_a_mesh_behind_the_camera() -> None:
    behind = box()
    image = render(SurfaceMesh(behind.vertices - np.array([0.0, 0.0, 6.0], np.float32), behind.faces), CAMERA)
    assert (image == 255).all()


def test_render_onto_an_image_keeps_the_input_and_uncovered_pixels() -> None:
    background = np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)
    copy = background.copy()
    image = render(box(), CAMERA, onto=background)
    outside = depth_map(box(), CAMERA) == 0
    np.testing.assert_array_equal(background, copy)
    np.testing.assert_array_equal(image[outside], background[outside])
    assert (image[~outside] != background[~outside]).any()


def test_depth_map_of_a_sphere() -> None:
    depth = depth_map(solved(*sphere()), CAMERA)
    assert depth[80, 100] == pytest.approx(2.5, abs=0.01)
    # Off the axis, where a ray meets a sphere of radius 0.5 m at 3 m.
    x = (130.5 - 100.0) / 240.0
    across = (3.0 - np.sqrt(9.0 - (1 + x**2) * (9.0 - 0.25))) / (1 + x**2)
    assert depth[80, 130] == pytest.approx(across, abs=0.02)
