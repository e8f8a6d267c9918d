import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.labels import LIMBS
from receiver.export.rigging import load_body_skin
from receiver.mesh.body_file import read_body, read_pose
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.mesh.rigged_body import RiggedBodies
from receiver.mesh.skinned_glb import PosedBody
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.expressive_people import expressive_body
from tests.support.motion.recorded_person import FRAMES, body_parameters


class Folder:
    """Bodies of a session, and what is written of them."""

    def __init__(self, path: Path) -> None:
        self.path, self._bodies = path, RiggedBodies("s3-")

    def write(self, name: str, body: PosedBody, person: int | None = None) -> list[str]:
        """Returns the parts that were written with the document."""
        skeleton = load_body_skin()[1].skeleton
        document, files = self._bodies.encode(person, body, skeleton, lambda name: (self.path / name).exists())
        for file, content in files.items():
            (self.path / file).write_bytes(content)
        (self.path / name).write_bytes(document)
        return sorted(file.split("-")[1] for file in files)

    def error_m(self, name: str, body: PosedBody) -> float:
        """The largest distance of a vertex from where it belongs."""
        read = read_body(self.path / name, morphed=True).mesh.vertices
        return float(np.linalg.norm(read - to_y_up(body.mesh.vertices), axis=1).max())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def walking(taller: float = 0.0) -> list[PosedBody]:
    """One person in three poses."""
    _, skin = load_body_skin()
    parameters = body_parameters()
    parameters = dataclasses.replace(parameters, shape=parameters.shape + taller)
    with torch.inference_mode():
        output = templates(skin, parameters)
        return [pose(skin, output, number) for number in range(FRAMES)]


def textured(body: PosedBody, brightness: int) -> PosedBody:
    return dataclasses.replace(body, texture=MeshTexture(_CORNERS, jpeg(brightness), brightness / 255))


def jpeg(brightness: int) -> bytes:
    return encode_jpeg(np.full((16, 16, 3), brightness, np.uint8))


def places() -> FloatArray:
    faces = load_body_skin()[1].template.faces
    return np.random.default_rng(0).random((len(faces), 3, 2)).astype(np.float32)


_CORNERS = TextureCorners.from_triangles(load_body_skin()[1].template.faces, places())


def test_poses_of_one_person_share_their_files_and_are_where_they_were(folder: Folder) -> None:
    written = [folder.write(f"{number}.gltf", body) for number, body in enumerate(walking())]
    assert written == [["shape", "skin"], [], []]
    for number, body in enumerate(walking()):
        assert folder.error_m(f"{number}.gltf", body) < 3e-4


def test_document_has_two_blocks_of_a_file_system(folder: Folder) -> None:
    for number, body in enumerate(walking()):
        folder.write(f"{number}.gltf", textured(body, 40))
        assert (folder.path / f"{number}.gltf").stat().st_size <= 2 * 4096


def test_document_says_which_limbs_a_camera_has_seen_in_its_frame(folder: Folder) -> None:
    for number, body in enumerate(walking()):
        unseen = {"left_leg"} if number else set[str]()
        folder.write(f"{number}.gltf", dataclasses.replace(body, unseen_limbs=unseen))
        assert read_pose(folder.path / f"{number}.gltf").unseen_limbs == unseen
    node = json.loads((folder.path / "1.gltf").read_bytes())["nodes"][0]
    assert node["extras"]["seen"] == {limb: limb != "left_leg" for limb in LIMBS}


def test_another_figure_is_written_without_what_is_the_same_for_all(folder: Folder) -> None:
    folder.write("0.gltf", walking()[0])
    taller = walking(0.2)[1]
    assert folder.write("1.gltf", taller) == ["shape"]
    assert folder.error_m("1.gltf", taller) < 3e-4


def test_pictures_change_alone(folder: Folder) -> None:
    first, second, third = walking()
    assert folder.write("0.gltf", textured(first, 40)) == ["shape", "skin", "texture"]
    assert folder.write("1.gltf", textured(second, 80)) == ["texture"]
    assert folder.write("2.gltf", textured(third, 40)) == []
    for name, brightness in (("0.gltf", 40), ("1.gltf", 80), ("2.gltf", 40)):
        texture = read_body(folder.path / name).texture
        assert texture is not None and texture.jpeg == jpeg(brightness)
        assert texture.unseen_share == pytest.approx(brightness / 255, abs=1e-4)


def test_people_share_what_is_the_same_for_all(folder: Folder) -> None:
    folder.write("0.gltf", walking()[0], person=0)
    assert folder.write("1.gltf", walking(0.3)[0], person=1) == ["shape"]
    assert folder.write("2.gltf", walking()[1], person=0) == []


def test_file_that_was_removed_is_written_again(folder: Folder) -> None:
    folder.write("0.gltf", walking()[0])
    for path in folder.path.glob("*.bin"):
        path.unlink()
    assert folder.write("1.gltf", walking()[1]) == ["shape", "skin"]
    assert folder.error_m("1.gltf", walking()[1]) < 3e-4


def test_face_has_the_shapes_that_move_something(folder: Folder) -> None:
    smiling = expressive_body({"mouthSmileLeft": 0.7, "jawOpen": 0.4, "browInnerUp": 0.01})
    assert folder.write("0.gltf", smiling) == ["colours", "face", "shape", "skin"]
    (mesh,) = json.loads((folder.path / "0.gltf").read_bytes())["meshes"]
    assert sorted(mesh["extras"]["targetNames"]) == ["jawOpen", "mouthSmileLeft"]
    assert folder.error_m("0.gltf", smiling) < 1e-3
    activations = read_pose(folder.path / "0.gltf").activations
    assert activations is not None
    assert dict(zip(FACIAL_ACTIONS, activations, strict=True))["jawOpen"] == pytest.approx(0.4)
    assert np.count_nonzero(activations) == 2
    surprised = expressive_body({"jawOpen": 0.9, "browInnerUp": 0.8}, 0.1)
    assert folder.write("1.gltf", surprised) == []
    assert folder.error_m("1.gltf", surprised) < 1e-3


def test_trimesh_reads_the_body_at_rest(folder: Folder) -> None:
    folder.write("0.gltf", walking()[0])
    read = trimesh.load_mesh(folder.path / "0.gltf")
    assert read.is_watertight and 1.2 < np.ptp(read.vertices[:, 1]) < 2.2


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "..", "secret.txt", "link-0123456789abcdef.bin"])
def test_no_other_file_is_read(folder: Folder, name: str) -> None:
    folder.write("0.gltf", walking()[0])
    (folder.path / "link-0123456789abcdef.bin").symlink_to(next(folder.path.glob("*skin*")))
    document = json.loads((folder.path / "0.gltf").read_bytes())
    document["buffers"][0]["uri"] = name
    (folder.path / "0.gltf").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="cannot read a skinned body"):
        read_body(folder.path / "0.gltf")
    assert read_pose(folder.path / "0.gltf").names
