import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.body.anatomy import JOINT_INDEX
from common.synthetic.motion.bvh import read_bvh
from common.synthetic.motion.reference_skeleton import forward_kinematics
from common.synthetic.motion.retarget import Motion, cmu_motion, deepmimic_motion, resample

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


def _cmu_t_pose(path: Path) -> Path:
    """Two frames of the T-pose on the rig of Character Creator: x to the person's left, y up, z forward."""
    down, forward = (0, -10, 0), (0, 0, 10)

    def joint(name: str, offset: tuple[float, ...], *children: str) -> str:
        position = " ".join(map(str, offset))
        channels = "CHANNELS 3 Zrotation Yrotation Xrotation"
        body = "\n".join(children) or "End Site\n{\nOFFSET 0 0 1\n}"
        return f"JOINT CC_Base_{name}\n{{\nOFFSET {position}\n{channels}\n{body}\n}}"

    def limbs(side: str, left: int) -> list[str]:
        out = (10 * left, 0, 0)
        fingers = [joint(f"{side}_{name}1", (8 * left, 0, z)) for name, z in (("Mid", 0), ("Index", 2), ("Pinky", -4))]
        forearm = joint(f"{side}_Forearm", out, joint(f"{side}_Hand", out, *fingers))
        arm = joint(f"{side}_Clavicle", (2 * left, 5, 0), joint(f"{side}_Upperarm", out, forearm))
        foot = joint(f"{side}_Foot", down, joint(f"{side}_ToeBase", forward))
        return [arm, joint(f"{side}_Thigh", (5 * left, 0, 0), joint(f"{side}_Calf", down, foot))]

    joints = [joint("Spine02", (0, 20, 0)), joint("Head", (0, 40, 0)), *limbs("L", 1), *limbs("R", -1)]
    hip = "CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
    text = "\n".join(["HIERARCHY\nROOT CC_Base_Hip\n{\nOFFSET 0 0 0", hip, *joints, "}"])
    frame = "0 97.5 0 " + " ".join(["0"] * 3 * (1 + text.count("JOINT")))
    path.write_text(f"{text}\nMOTION\nFrames: 2\nFrame Time: 0.02\n{frame}\n{frame}\n")
    return path


def test_cmu_t_pose_has_level_arms_and_standing_legs(tmp_path: Path) -> None:
    motion = cmu_motion(_cmu_t_pose(tmp_path / "1_01.bvh"))
    assert motion.fps == pytest.approx(50.0)
    position = forward_kinematics(motion.local_rotations)[0][0]

    def direction(begin: str, end: str) -> np.ndarray:
        bone = position[JOINT_INDEX[end]] - position[JOINT_INDEX[begin]]
        return np.asarray(bone / np.linalg.norm(bone))

    for side, left in ((".L", 1.0), (".R", -1.0)):
        for begin, end in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist")):
            assert np.allclose(direction(begin + side, end + side), [left, 0.0, 0.0], atol=1e-6)
        for begin, end in (("upperleg01", "lowerleg01"), ("lowerleg01", "foot")):
            assert np.allclose(direction(begin + side, end + side), [0.0, 1.0, 0.0], atol=1e-6)


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
        "probe", Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(3, 22, 3, 3), angles[:, 5], 15.0
    )
    twice = resample(motion, 30.0)
    vectors = Rotation.from_matrix(twice.local_rotations[:, 5]).as_rotvec()
    assert np.allclose(vectors[:, 0], [0.0, 0.2, 0.4, 0.6, 0.8])
    assert np.allclose(twice.root_translation[:, 0], [0.0, 0.2, 0.4, 0.6, 0.8])
