"""All formats of animations share one world: metres, y up, the floor at 0, the camera above the origin."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from receiver.export.command import main
from receiver.export.rigging import load_body_skin, posed
from receiver.mesh.body_file import read_body
from receiver.mesh.skinned_glb import encode_body
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.motion.bvh_reader import Bvh
from tests.support.motion.moving_character import CAMERA_HEIGHT_M, moving_character

FRAMES = 24
_LENS = {"width": 640, "height": 480, "focal_px": 768.0}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of somebody who walks."""
    folder = tmp_path_factory.mktemp("out")
    (folder / "meshes").mkdir()
    walk = moving_character("deepmimic/long_walk3")
    lines = []
    for frame in range(FRAMES):
        motion = dataclasses.replace(
            walk.motion,
            times_s=walk.motion.times_s[[frame]],
            rotations=walk.motion.rotations[[frame]],
            root_positions=walk.motion.root_positions[[frame]],
        )
        path = f"meshes/{frame}-p0.body.glb"
        body = posed(dataclasses.replace(walk, motion=motion))
        (folder / path).write_bytes(encode_body(body, load_body_skin()[1].skeleton))
        person = {"id": 0, "body": path}
        line = {"seq": frame, "session": 1, "captured_at": 50 + frame / 30, "people": [person], "camera": _LENS}
        lines.append(json.dumps(line) + "\n")
    (folder / "frames.jsonl").write_text("".join(lines))
    return folder


def exported(out: Path, mesh_format: str, *flags: str) -> Path:
    path = out / f"walk{len(flags)}.{mesh_format}"
    assert main([str(out), "--format", mesh_format, "--output", str(path), "--force", *flags]) == 0
    return path


def test_glb_stands_on_the_floor_and_has_the_camera(out: Path) -> None:
    content = exported(out, "glb").read_bytes()
    glb = Glb(content)
    lowest_m = []
    for key in range(FRAMES):
        glb.show_key(key)
        lowest_m.append(glb.skinned_vertices()[:, 1].min())
    # The tips of toes dip where heels rise: the skeleton has no joint between.
    assert min(lowest_m) > -0.06 and max(lowest_m) < 0.01
    (node,) = (node for node in glb.document["nodes"] if "camera" in node)
    assert node["translation"] == pytest.approx([0, CAMERA_HEIGHT_M, 0], abs=0.25)
    assert Rotation.from_quat(node["rotation"]).magnitude() < np.radians(8)
    (camera,) = glb.document["cameras"]
    assert camera["perspective"]["yfov"] == pytest.approx(2 * np.arctan(240 / 768))
    assert validation_issues(content) == []


def test_bvh_and_usdz_have_the_same_world(out: Path) -> None:
    pytest.importorskip("pxr.UsdSkel", reason="usd-core is not installed: pip install 'bodywire[usd]'")
    from pxr import Usd, UsdGeom, UsdSkel

    glb = Glb(exported(out, "glb").read_bytes())
    root = glb.document["skins"][0]["joints"][0]
    (pose,) = (node for node in glb.document["nodes"] if "camera" in node)
    bvh = Bvh(exported(out, "bvh").read_text())
    np.testing.assert_allclose(bvh.values[0, :3] / 100, glb.document["nodes"][root]["translation"], atol=1e-4)
    stage = Usd.Stage.Open(str(exported(out, "usdz")))
    animation = UsdSkel.Animation.Get(stage, "/session/person_0/animation")
    np.testing.assert_allclose(
        animation.GetTranslationsAttr().Get(0.0)[0], glb.document["nodes"][root]["translation"], atol=1e-5
    )
    camera = UsdGeom.Camera.Get(stage, "/session/camera")
    matrix = np.array(camera.ComputeLocalToWorldTransform(Usd.TimeCode.Default()))
    np.testing.assert_allclose(matrix[3, :3], pose["translation"], atol=1e-6)
    np.testing.assert_allclose(matrix[:3, :3].T, Rotation.from_quat(pose["rotation"]).as_matrix(), atol=1e-6)
    assert camera.GetFocalLengthAttr().Get() / camera.GetHorizontalApertureAttr().Get() == pytest.approx(768 / 640)


def test_sequences_stand_on_the_same_floor(out: Path) -> None:
    (camera,) = (node for node in Glb(exported(out, "glb").read_bytes()).document["nodes"] if "camera" in node)
    folder = exported(out, "ply")
    read = [trimesh.load_mesh(folder / f"frame-{frame:06d}.ply", process=False).vertices for frame in range(FRAMES)]
    lowest_m = [vertices[:, 1].min() for vertices in read]
    assert min(lowest_m) > -0.06 and max(lowest_m) < 0.04
    for frame in (0, FRAMES - 1):
        published = read_body(out / f"meshes/{frame}-p0.body.glb").mesh.vertices
        seen = Rotation.from_quat(camera["rotation"]).apply(published) + camera["translation"]
        np.testing.assert_allclose(read[frame], seen, atol=1e-3)


def test_in_place_has_no_path_and_no_camera(out: Path) -> None:
    glb = Glb(exported(out, "glb", "--in-place").read_bytes())
    assert not any("camera" in node for node in glb.document["nodes"])
    values = Bvh(exported(out, "bvh", "--in-place").read_text()).values
    assert np.ptp(values[:, [0, 2]]) == 0 and np.ptp(values[:, 1]) > 0
