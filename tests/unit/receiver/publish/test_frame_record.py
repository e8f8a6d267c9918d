import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera, PersonLabels
from common.labels import GROUP_BY_NAME, LIMBS, concatenate
from receiver.body.person_scale import PersonScale
from receiver.body.skinning import BodySkin
from receiver.engine.reconstructor import BonesNetwork
from receiver.publish.frame_record import FrameRecord, PersonRecord, encode_line, finger_rotations
from tests.support.receiver.fake_reconstructor import tetrahedron_of


def _person() -> PersonRecord:
    points = np.arange(51, dtype=np.float32).reshape(17, 3) / 7.0
    return PersonRecord(3, 0.987654321, points, -points, "meshes/000005.glb", unseen_limbs={"left_leg"})


def test_line_has_the_documented_fields() -> None:
    record = FrameRecord(
        sequence=5,
        source="one_person.avi",
        captured_at=1763630000.1234567,
        age_ms=41.123456,
        clock_error_ms=None,
        bytes_by_group={"total": 210, "root": 14},
        rho={"root": 0.25},
        stages_ms={"surface": 23.45678},
        people=(_person(),),
        camera=Camera(640, 480, 768.0),
    )
    line = encode_line(record.as_dict(session=1))
    read = json.loads(line)
    assert "\n" not in line
    assert list(read) == [
        "seq", "session", "source", "captured_at", "age_ms", "clock_error_ms", "bytes", "rho", "stages_ms", "people",
        "camera",
    ]  # fmt: skip
    assert read["camera"] == {"width": 640, "height": 480, "focal_px": 768.0, "focal_sigma": 0.4}
    assert (read["seq"], read["session"], read["source"]) == (5, 1, "one_person.avi")
    assert read["captured_at"] == pytest.approx(1763630000.123457, abs=1e-6)
    assert (read["age_ms"], read["clock_error_ms"]) == (41.1235, None)
    assert read["bytes"] == {"total": 210, "root": 14}
    person = read["people"][0]
    assert list(person) == ["id", "score", "keypoints_2d", "joints_3d", "seen", "surface", "body"]
    assert person["seen"] == {limb: limb != "left_leg" for limb in LIMBS}
    assert (person["id"], person["score"], person["surface"], person["body"]) == (3, 0.9877, "meshes/000005.glb", None)
    np.testing.assert_allclose(person["keypoints_2d"], _person().keypoints_2d, atol=6e-5)
    np.testing.assert_allclose(person["joints_3d"], _person().joints_3d, atol=6e-5)


def test_points_of_another_skeleton_are_refused() -> None:
    points = np.zeros((17, 3), np.float32)
    for keypoints, joints in ((points[:16], points), (points, points[:16])):
        with pytest.raises(ValueError, match="must be"):
            PersonRecord(3, 0.9, keypoints, joints)


def test_person_has_scale_if_it_is_known() -> None:
    person = dataclasses.replace(_person(), scale=PersonScale(1.712345, 0.15, 1.25))
    record = FrameRecord(0, "demo", 0.0, None, None, {"total": 0}, people=(person,)).as_dict(1)
    published = {name: record["people"][0][name] for name in ("height_m", "height_sigma_m", "distance_sigma_m")}
    assert published == {"height_m": 1.7123, "height_sigma_m": 0.15, "distance_sigma_m": 1.25}


def test_line_writes_null_for_nan_and_infinity() -> None:
    record = FrameRecord(0, "demo", 0.0, float("nan"), float("inf"), {"total": 0})
    read = json.loads(encode_line(record.as_dict(1)))
    assert read["age_ms"] is None and read["clock_error_ms"] is None


def test_fingers_are_rotations_from_the_bone_before_of_hands_that_are_known() -> None:
    skin = BodySkin.from_model(BodyModel.load())
    space, bones = LabelSpace.load(), BonesNetwork(LabelSpace.load(), KeypointKinematics(skin.model))
    entries = np.linspace(-1, 1, GROUP_BY_NAME["left_fingers"].size, dtype=np.float32)
    labels = concatenate({"hands": np.ones(10, np.float32), "left_fingers": entries})
    positions, rotations, *_ = (part[0].numpy() for part in bones(torch.from_numpy(labels[None])))
    person = tetrahedron_of(PersonLabels(0, 1.0, {"left_fingers": entries}))
    person = replace(person, body=replace(person.body, joint_positions=positions, joint_rotations=rotations))
    found = finger_rotations(person, skin.skeleton)
    base, directions = space.rotation_vectors(skin.model)
    expected = (base + torch.from_numpy(labels) @ directions).reshape(-1, 3)[-30:]
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert finger_rotations(replace(person, labels=PersonLabels(0, 1.0, {})), skin.skeleton) is None
