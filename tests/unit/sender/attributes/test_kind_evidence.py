"""Parts lie where the keypoints are, and those of the right side are mirrored."""

import numpy as np

from common.body.anatomy import MIRRORED_KEYPOINTS
from sender.attributes.kinds import (
    COLOUR_FEATURES,
    PARTS,
    PLACES,
    limb_colours,
    part_pictures,
    part_transforms,
)

# A person who stands upright and faces the camera; crop units.
STANDING = np.array(
    [(0.5, 0.15), (0.52, 0.13), (0.48, 0.13), (0.54, 0.14), (0.46, 0.14), (0.58, 0.25), (0.42, 0.25), (0.62, 0.38),
     (0.38, 0.38), (0.64, 0.5), (0.36, 0.5), (0.55, 0.5), (0.45, 0.5), (0.55, 0.7), (0.45, 0.7), (0.55, 0.9),
     (0.45, 0.9)], np.float32)  # fmt: skip
FULL = np.full((64, 64), 255, np.uint8)


def places(transforms: np.ndarray, part: str, points: np.ndarray) -> np.ndarray:
    transform = transforms[PARTS.index(part)]
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


def test_keypoints_are_inside_their_parts() -> None:
    transforms = part_transforms(STANDING)
    for part, rows in (("head", [0, 1, 2, 3, 4]), ("torso", [5, 6, 11, 12]), ("left_arm", [5, 7, 9])):
        inside = places(transforms, part, STANDING[rows])
        assert (inside > 0).all() and (inside < 1).all(), part
    nose, ankle = places(transforms, "head", STANDING[:1])[0], places(transforms, "left_leg", STANDING[15:16])[0]
    assert 0.3 < nose[0] < 0.7 and ankle[1] > 0.8, "the part is upright"


def test_mirrored_person_has_the_same_parts_on_the_other_side() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    crossed = ([1, 0] + np.array([-1, 1]) * STANDING)[MIRRORED_KEYPOINTS].astype(np.float32)
    first = part_pictures(picture, FULL, part_transforms(STANDING))
    second = part_pictures(mirrored, FULL, part_transforms(crossed))
    for part in ("arm", "leg", "foot"):
        left, right = PARTS.index(f"left_{part}"), PARTS.index(f"right_{part}")
        difference = np.abs(first[left].astype(int) - second[right].astype(int))
        assert difference.mean() < 2, part


def test_colours_differ_from_the_face_where_there_is_cloth() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    picture[22:] = (0, 0, 255)
    colours = limb_colours(picture, FULL, STANDING).reshape(PLACES, 7)
    assert colours.size == COLOUR_FEATURES
    assert np.abs(colours[:36, 3:6]).max(axis=1).min() > 0.3, "limbs"
    assert np.abs(colours[36:39, 3:6]).max() < 0.05, "scalp"
