"""Avatars of another hand: their paint, their joints, and the alignment of what was rebuilt."""

from itertools import pairwise

import numpy as np
import pytest

from common.arrays import ByteArray
from receiver.train.avatars import Avatar
from tests.bench import measures
from tests.bench.avatars import photograph, placed, summary
from tests.bench.painted_avatar import JOINTS, painted

_PLACES = {
    "Head": (0, -1.5, 0), "LEye": (0.03, -1.6, -0.08), "REye": (-0.03, -1.6, -0.08), "Spine": (0, -1.1, 0),
    "UpperArm": (0.2, -1.4, 0), "Forearm": (0.45, -1.4, 0), "Hand": (0.7, -1.4, 0), "Finger0": (0.75, -1.4, 0),
    "Thigh": (0.1, -0.9, 0), "Calf": (0.1, -0.5, 0), "Foot": (0.1, -0.1, 0), "Toe0": (0.1, -0.02, -0.1),
}  # fmt: skip
_SINGLE = ("Head", "LEye", "REye", "Spine")
_WEARS = {"hair": "short", "headwear": "none", "sleeve": "long", "layer": "top", "bottom": "trousers", "shoes": "shoes"}


def somebody(**wears: str) -> Avatar:
    """An avatar with a few points on each bone: of limbs at its beginning, its middle and near its end."""
    joints = {}
    for name, place in _PLACES.items():
        if name in _SINGLE:
            joints[f"Bip02 {name}"] = np.array(place, np.float64)
        else:
            joints |= {f"Bip02 {side} {name}": np.array(place) * (sign, 1, 1) for side, sign in (("L", 1), ("R", -1))}
    points, bones = [], []
    for side, sign in (("L", 1), ("R", -1)):
        chain = ("UpperArm", "Forearm", "Hand"), ("Thigh", "Calf", "Foot")
        for parts in chain:
            for first, second in pairwise(parts):
                start, end = (np.array(_PLACES[part]) * (sign, 1, 1) for part in (first, second))
                points += [start + share * (end - start) for share in (0.1, 0.5, 0.9)]
                bones += [f"Bip02 {side} {first}"] * 3
        points += [np.array(_PLACES[part]) * (sign, 1, 1) for part in ("Hand", "Toe0", "Finger0")]
        bones += [f"Bip02 {side} {part}" for part in ("Hand", "Toe0", "Finger0")]
    points += [np.array([0, -1.1, 0]), np.array([0, -1.58, -0.1]), np.array([0, -1.7, 0])]
    bones += ["Bip02 Spine", "Bip02 Head", "Bip02 Head"]
    faces = np.arange(len(points)).reshape(-1, 3)
    return Avatar("somebody", _WEARS | wears, np.stack(points), faces, np.array(bones), joints)


def colour(avatar: Avatar, bone: str, row: int = 0) -> tuple[int, ...]:
    mesh = painted(avatar, np.random.default_rng(3)).mesh
    colours: ByteArray = mesh.colours  # type: ignore[assignment]
    return tuple(int(value) for value in colours[np.flatnonzero(avatar.bone == f"Bip02 {bone}")[row]])


def test_avatars_are_painted_by_what_they_wear() -> None:
    plain = somebody()
    top, skin, bottom = colour(plain, "Spine"), colour(plain, "L Hand"), colour(plain, "L Thigh")
    shoe, hair = colour(plain, "L Toe0"), colour(plain, "Head", 1)
    assert len({top, skin, bottom, shoe, hair}) == 5
    assert colour(plain, "R Finger0") == colour(plain, "Head", 0) == skin
    assert [colour(plain, "L Forearm", row) for row in range(3)] == [top] * 3
    short = somebody(sleeve="short", bottom="shorts", shoes="boots")
    assert [colour(short, "R UpperArm", row) for row in range(3)] == [top, top, skin]
    assert [colour(short, "R Thigh", row) for row in range(3)] == [bottom, bottom, skin]
    assert [colour(short, "L Calf", row) for row in range(3)] == [skin, skin, shoe]
    coat = somebody(layer="coat", headwear="cap", hair="hidden")
    assert colour(coat, "L Thigh") == top and colour(coat, "Head", 1) not in (hair, skin)
    assert colour(somebody(hair="bald", shoes="barefoot"), "Head", 1) == skin


def test_avatars_stand_before_the_camera_and_appear_in_their_picture() -> None:
    rng = np.random.default_rng(5)
    avatar = placed(painted(somebody(), rng), 0.0)
    assert avatar.joints.shape == (len(JOINTS), 3)
    ankles = avatar.joints[[JOINTS.index(15), JOINTS.index(16)]]
    assert np.allclose(ankles[:, 1:], [[0.9, 2.3]] * 2) and np.allclose(ankles[:, 0], [0.1, -0.1])
    assert photograph(avatar, rng).shape == (640, 480, 3)


def test_what_was_rebuilt_is_aligned_by_its_joints() -> None:
    rng = np.random.default_rng(7)
    truth, points = rng.normal(size=(12, 3)), rng.normal(size=(50, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    found, moved = 1.3 * truth @ turn.T + 2.0, 1.3 * points @ turn.T + 2.0
    assert np.allclose(measures.procrustes(found, truth, moved), points, atol=1e-9)


def test_figures_are_means_over_those_that_have_them() -> None:
    one = {"found_share": 1.0, "pa_chamfer_mm": 20.0, "pa_chamfer_bare_mm": 25.0, "wears_hair": 1.0}
    figures = summary([one, {"found_share": 0.0}, one | {"pa_chamfer_mm": 30.0, "wears_hair": 0.0}])
    assert figures["found_share"] == pytest.approx(2 / 3) and figures["wears_hair"] == 0.5
    assert figures["over_bare"] == 1.0 and figures["over_bare_standard_error"] > 0
