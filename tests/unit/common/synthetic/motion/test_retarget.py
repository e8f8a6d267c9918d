import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.body.anatomy import JOINT_INDEX, JOINTS
from common.synthetic.motion.retarget import (
    CMU,
    MESH2MOTION,
    NEXT,
    ROCKETBOX,
    TURNED,
    Motion,
    Rig,
    forward_kinematics,
    hinge_axis,
    motion_of,
    resample,
)
from common.synthetic.motion.windows import bvh_motion, deepmimic_motion, read_bvh, read_motions

_BVH = """HIERARCHY
ROOT hip
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT knee
  {
    OFFSET 0 -2 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.05
1 2 3 90 0 0 0 0 0
1 2 3 90 0 90 0 0 0
"""


def test_cmu_t_pose_has_level_arms_and_standing_legs(tmp_path: Path) -> None:
    motion = bvh_motion("cmu", _source(tmp_path / "1_01.bvh", CMU, {}, 0.0))
    assert motion.fps == pytest.approx(50.0)
    for side, left in ((".L", 1.0), (".R", -1.0)):
        for joint, end in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist")):
            assert np.allclose(_direction(motion, joint + side, end + side), [left, 0.0, 0.0], atol=1e-6)
        for joint, end in (("upperleg01", "lowerleg01"), ("lowerleg01", "foot")):
            assert np.allclose(_direction(motion, joint + side, end + side), [0.0, 1.0, 0.0], atol=1e-6)


def _direction(motion: Motion, begin: str, end: str) -> np.ndarray:
    position = forward_kinematics(motion.local_rotations)[0][0]
    bone = position[JOINT_INDEX[end]] - position[JOINT_INDEX[begin]]
    return np.asarray(bone / np.linalg.norm(bone))


def _t_pose_of_biped(joint: str) -> np.ndarray:
    """World axes of the bones of Rocketbox: x along the bone, z about which elbows and knees stretch."""
    left = -1.0 if joint.endswith(".R") else 1.0
    if "arm" in joint or joint.startswith("wrist"):
        return np.array([[left, 0, 0], [0, 0, -1], [0, left, 0]]).T
    if "leg" in joint or joint.startswith("foot"):
        return np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]]).T
    rest = ROCKETBOX.rest[joint.partition(".")[0]]
    return rest if left > 0.0 else np.diag([-1, 1, 1]) @ rest @ np.diag([1, 1, -1])


def _source(path: Path, rig: Rig, bends: Mapping[str, Sequence[float] | np.ndarray], finger_angle: float) -> Path:
    """Two frames of the T-pose with some bones turned in the world; every bone hangs on the root."""
    biped = rig is ROCKETBOX
    bones: dict[str, tuple[list[float], np.ndarray]] = {}
    for side, left in (("L", 1.0), ("R", -1.0)):
        for joint in (joint for joint in TURNED if not joint.endswith((".L", ".R")) or joint.endswith(side)):
            length = 40.0 if joint.startswith(("lowerleg", "foot")) else 10.0
            along = [0, -length, 0] if length > 10.0 else [length * left, 0, 0]
            bend = Rotation.from_rotvec(bends.get(joint, [0, 0, 0])).as_matrix()
            rest = _t_pose_of_biped(joint) if biped else np.eye(3)
            bones[rig.bone(joint)] = [length, 0, 0] if biped else along, bend @ rest
        for phalanges, hinge in rig.curls:
            flexed = Rotation.from_rotvec(finger_angle * rig.axis(hinge, side)).as_matrix()
            bones |= {rig.named(bone, side): ([0, 0, 0], flexed) for bone in phalanges}
        for finger, across in zip(rig.hand, (0.0, 2.0, -4.0), strict=True):
            knuckle = [9.0, 0, -across * left] if biped else [9.0 * left, 0, across]
            bones[rig.named(finger, side)] = knuckle, bones.get(rig.named(finger, side), ([], np.eye(3)))[1]
    angles = [Rotation.from_matrix(matrix).as_euler("ZYX", degrees=True) for _, matrix in bones.values()]
    channels = "Zrotation Yrotation Xrotation"
    text = f"HIERARCHY\nROOT world\n{{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition {channels}\n"
    for name, (offset, _) in bones.items():
        text += f"JOINT {name}\n{{\nOFFSET {offset[0]} {offset[1]} {offset[2]}\nCHANNELS 3 {channels}\n}}\n"
    frame = " ".join(map(str, [0, 90, 0, 0, 0, 0, *np.concatenate(angles)]))
    path.write_text(f"{text}}}\nMOTION\nFrames: 2\nFrame Time: 0.02\n{frame}\n{frame}\n")
    return path


@pytest.mark.parametrize(("name", "rig"), [("rocketbox", ROCKETBOX), ("mesh2motion", MESH2MOTION)])
def test_limbs_fingers_and_hinges_of_other_rigs(tmp_path: Path, name: str, rig: Rig) -> None:
    # Left forearm forwards, right shin backwards: about the world's -y and the person's left.
    bends = {"lowerarm01.L": [0.0, -1.2, 0.0], "wrist.L": [0.0, -1.2, 0.0], "lowerleg01.R": [1.2, 0.0, 0.0]}
    motion = bvh_motion(name, _source(tmp_path / "f.bvh", rig, bends, 0.5))
    assert np.allclose(_direction(motion, "upperarm01.L", "lowerarm01.L"), [1.0, 0.0, 0.0], atol=1e-6)
    assert np.allclose(_direction(motion, "lowerarm01.L", "wrist.L"), [np.cos(1.2), 0, -np.sin(1.2)], atol=1e-6)
    assert np.allclose(_direction(motion, "lowerarm01.R", "wrist.R"), [-1.0, 0.0, 0.0], atol=1e-6)
    assert np.allclose(_direction(motion, "upperleg01.R", "lowerleg01.R"), [0.0, 1.0, 0.0], atol=1e-6)
    assert np.allclose(_direction(motion, "lowerleg01.R", "foot.R"), [0, np.cos(1.2), np.sin(1.2)], atol=1e-6)
    assert np.allclose(motion.curl, 0.3, atol=1e-3)
    world = forward_kinematics(motion.local_rotations)[1][0]
    for limb, hinge in (("upperarm01.L", [0, 1, 0]), ("upperarm01.R", [0, -1, 0]), ("upperleg01.R", [1, 0, 0])):
        assert world[JOINT_INDEX[limb]] @ hinge_axis(limb) @ hinge > 0.98


def test_arm_that_a_recording_turns_about_itself_bends_forwards(tmp_path: Path) -> None:
    half_turn = Rotation.from_rotvec([np.pi, 0.0, 0.0])
    bends = {"upperarm01.L": half_turn.as_rotvec(), "wrist.L": np.array([0.0, -1.2, 0.0])}
    bends["lowerarm01.L"] = (Rotation.from_rotvec(bends["wrist.L"]) * half_turn).as_rotvec()
    motion = bvh_motion("rocketbox", _source(tmp_path / "f.bvh", ROCKETBOX, bends, 0.0))
    assert np.allclose(_direction(motion, "lowerarm01.L", "wrist.L"), [np.cos(1.2), 0, -np.sin(1.2)], atol=1e-6)
    upper = forward_kinematics(motion.local_rotations)[1][0, JOINT_INDEX["upperarm01.L"]]
    assert upper @ hinge_axis("upperarm01.L") @ [0, 1, 0] > 0.98


def test_rig_without_a_bone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no joint pelvis"):
        bvh_motion("mesh2motion", _source(tmp_path / "1_01.bvh", CMU, {}, 0.0))


def test_who_flies_over_a_known_floor_stays_in_the_air() -> None:
    world = {joint: np.tile(np.eye(3), (2, 1, 1)) for joint in JOINTS}
    root = np.array([[0.0, -1.84, 0.0]] * 2)
    assert motion_of("drawn", world, root, 30.0).root_translation[0, 1] == pytest.approx(-0.846, abs=0.002)
    flying = motion_of("drawn", world, root, 30.0, ankle_height_m=0.047)
    assert flying.root_translation[0, 1] == pytest.approx(-1.78)


def _positions_of(vectors: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Joint positions of poses as UI-PRMD names them, and the positions of our joints."""
    ours, world = forward_kinematics(Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3))
    names = {"upperarm01": "shoulder", "lowerarm01": "elbow", "wrist": "wrist", "upperleg01": "hip"}
    names |= {"lowerleg01": "knee", "foot": "ankle"}
    points = {f"{names[joint[:-2]]}{joint[-2:]}": ours[:, k] for k, joint in enumerate(JOINTS) if joint[:-2] in names}
    points |= {name: ours[:, JOINT_INDEX[joint]] for name, joint in (("chest", "spine01"), ("neck", "neck01"))}
    points |= {"pelvis": ours[:, 0] + [0, 0.011, 0.003], "head": ours[:, JOINT_INDEX["head"]] + [0, -0.1, 0.0]}
    for side in (".L", ".R"):
        foot, hand = JOINT_INDEX[f"foot{side}"], JOINT_INDEX[f"wrist{side}"]
        points[f"hand{side}"] = ours[:, hand] + world[:, hand] @ [0.04 if side == ".L" else -0.04, 0.05, -0.08]
        points[f"heel{side}"], points[f"toe{side}"] = ours[:, foot] + [0, 0.04, 0.05], ours[:, foot] + [0, 0.04, -0.13]
    return points, ours


def test_measured_positions_become_rotations_whose_limbs_point_there(tmp_path: Path) -> None:
    vectors = np.zeros((5, 22, 3))
    vectors[1:4, JOINT_INDEX["upperarm01.L"]] = [[0.9, 0.2, 0.3], [0.2, 1.0, 0.1], [-0.7, 0.0, -0.8]]
    vectors[:, JOINT_INDEX["lowerleg01.R"], 0] = [0.0, 0.5, 1.0, 1.5, 2.0]
    vectors[:, JOINT_INDEX["upperleg01.R"], 0] = [0.0, -0.5, -1.0, -1.2, -1.5]
    points, ours = _positions_of(vectors)
    (tmp_path / "uiprmd").mkdir()
    np.savez(
        tmp_path / "uiprmd" / "uiprmd.npz",
        positions=np.stack(list(points.values()), axis=1) * [1.0, -1.0, -1.0],
        joints=list(points),
        lengths=[2, 3],
        fps=30.0,
        names=["m01_s02_e03", "m05_s09_e03"],
        exercise=["deep squat", "sit to stand"],
    )
    motions = list(read_motions(tmp_path, ("uiprmd",)))
    assert [motion.name for motion in motions] == ["uiprmd/m01_s02_e03", "uiprmd/m05_s09_e03"]
    assert motions[1].activity == "sit to stand" and np.isnan(motions[0].curl).all()
    fitted = np.concatenate([forward_kinematics(motion.local_rotations)[0] for motion in motions])
    for start, end in NEXT.items():
        for side in (".L", ".R"):
            first, second = JOINT_INDEX[start + side], JOINT_INDEX[end + side]
            bones = np.stack([joints[:, second] - joints[:, first] for joints in (ours, fitted)])
            bones /= np.linalg.norm(bones, axis=-1, keepdims=True)
            assert np.allclose(bones[0], bones[1], atol=1e-6)


def _deepmimic(tmp_path: Path, **changes: list[float]) -> Motion:
    """A clip of two equal frames in the rest pose, except for the given bone rotations."""
    order: tuple[str, ...] = ("chest", "neck", "rhip", "rknee", "rankle", "rshoulder", "relbow")
    order += ("lhip", "lknee", "lankle", "lshoulder", "lelbow")
    frame = [1 / 30, 0.0, 0.83, 0.0, *changes.get("root", [1.0, 0.0, 0.0, 0.0])]
    for bone in order:
        frame += changes.get(bone, [0.0] if bone.endswith(("knee", "elbow")) else [1.0, 0.0, 0.0, 0.0])
    path = tmp_path / "humanoid3d_probe.txt"
    path.write_text(json.dumps({"Loop": "none", "Frames": [frame, frame]}))
    return deepmimic_motion(path)


def test_read_bvh_uses_intrinsic_rotations(tmp_path: Path) -> None:
    path = tmp_path / "probe.bvh"
    path.write_text(_BVH)
    bvh = read_bvh(path)
    assert bvh.names == ("hip", "knee") and bvh.parents == (-1, 0) and bvh.frame_time_s == 0.05
    # Rotating "down" by 90 degrees about z gives +x; rotating it about x first gives -z, which z keeps.
    assert np.allclose(bvh.world_positions()[:, 1] - [1.0, 2.0, 3.0], [[2.0, 0.0, 0.0], [0.0, 0.0, -2.0]])


@pytest.mark.parametrize("text", ["", "HIERARCHY\n", _BVH.replace("90 0 90 0", "90 0 90"), _BVH.replace("2 3", "a b")])
def test_read_bvh_refuses_damaged_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "probe.bvh"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a BVH file"):
        read_bvh(path)


def test_deepmimic_rest_pose_has_hanging_arms_and_faces_the_camera(tmp_path: Path) -> None:
    motion = _deepmimic(tmp_path)
    position = forward_kinematics(motion.local_rotations)[0][0]
    for side in (".L", ".R"):
        shoulder, elbow, wrist = (
            position[JOINT_INDEX[joint + side]] for joint in ("upperarm01", "lowerarm01", "wrist")
        )
        assert np.allclose((elbow - shoulder)[[0, 2]], 0.0, atol=1e-6) and elbow[1] > shoulder[1]
        assert np.allclose((wrist - elbow)[[0, 2]], 0.0, atol=1e-6) and wrist[1] > elbow[1]
    assert position[JOINT_INDEX["upperleg01.L"], 0] > 0.0 > position[JOINT_INDEX["upperleg01.R"], 0]


def test_deepmimic_elbow_flexes_forwards_and_knee_backwards(tmp_path: Path) -> None:
    motion = _deepmimic(tmp_path, lelbow=[np.pi / 2], rknee=[-np.pi / 2])
    position = forward_kinematics(motion.local_rotations)[0][0]
    forearm = position[JOINT_INDEX["wrist.L"]] - position[JOINT_INDEX["lowerarm01.L"]]
    shin = position[JOINT_INDEX["foot.R"]] - position[JOINT_INDEX["lowerleg01.R"]]
    assert np.allclose(forearm / np.linalg.norm(forearm), [0.0, 0.0, -1.0], atol=1e-6)
    assert np.allclose(shin / np.linalg.norm(shin), [0.0, 0.0, 1.0], atol=1e-6)
    straight = position[JOINT_INDEX["wrist.R"]] - position[JOINT_INDEX["lowerarm01.R"]]
    assert straight[1] > 0.2


def test_resample_to_twice_the_rate() -> None:
    angles = np.zeros((3, 22, 3))
    angles[:, 5, 0] = [0.0, 0.4, 0.8]
    motion = Motion(
        "probe",
        Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(3, 22, 3, 3),
        angles[:, 5],
        15.0,
        np.full((3, 4), np.nan),
    )
    twice = resample(motion, 30.0)
    vectors = Rotation.from_matrix(twice.local_rotations[:, 5]).as_rotvec()
    assert np.allclose(vectors[:, 0], [0.0, 0.2, 0.4, 0.6, 0.8])
    assert np.allclose(twice.root_translation[:, 0], [0.0, 0.2, 0.4, 0.6, 0.8])
