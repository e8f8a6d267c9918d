from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.frames import (
    MAX_CAPTURED_AT_S,
    MAX_FOCAL_PX,
    MAX_FRAME_SEQUENCE,
    MIN_FOCAL_PX,
    Camera,
    LabelFrame,
    PersonLabels,
    check_frame,
    unseen_limbs,
)

CAMERA = Camera(480, 640, 800.0)


def test_project_maps_the_optical_axis_to_the_centre() -> None:
    pixels = CAMERA.project(np.array([[0, 0, 2.0], [1, -1, 2.0]], np.float32))
    np.testing.assert_allclose(pixels, [[240, 320], [640, -80]])


def test_rays_are_projected_to_their_pixels() -> None:
    camera, pixels = Camera(640, 480, 500.0), np.array([[0.0, 0.0], [320.0, 240.0], [500.0, 17.5]], np.float32)
    rays = camera.rays(pixels)
    np.testing.assert_array_equal(rays[:, 2], 1)
    np.testing.assert_allclose(camera.project((3.5 * rays).astype(np.float32)), pixels, atol=1e-3)


PERSON = PersonLabels(7, 0.5, {"root": np.zeros(9, np.float32)}, confidence={"root": 1.0})
FRAME = LabelFrame(3, "clip.mp4", 1_800_000_000.0, CAMERA, (PERSON,))


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": MAX_FRAME_SEQUENCE},
        {"captured_at": 0.0},
        {"captured_at": MAX_CAPTURED_AT_S},
        {"camera": Camera(1, 65_536, MIN_FOCAL_PX)},
        {"camera": Camera(65_536, 1, MAX_FOCAL_PX)},
        {"people": tuple(replace(PERSON, identity=identity) for identity in range(224, 256))},
        {"people": (replace(PERSON, labels={"shape": np.full(1, -33, np.float32)}),)},
    ],
)
def test_check_frame_at_the_limits(fields: dict[str, Any]) -> None:
    check_frame(replace(FRAME, **fields))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**53 - 1}, "sequence"),
        ({"captured_at": -1e-3}, "capture"),
        ({"captured_at": MAX_CAPTURED_AT_S + 1}, "capture"),
        ({"captured_at": float("nan")}, "capture"),
        ({"camera": Camera(0, 1, 1.0)}, "image of 0 x 1"),
        ({"camera": Camera(1, 2**31, 1.0)}, "image"),
        *(({"camera": Camera(4, 4, focal)}, "focal") for focal in (0.0, -1.0, 1e-45, 1e9, float("inf"), float("nan"))),
        ({"people": (PERSON, PERSON)}, "distinct"),
        ({"people": tuple(replace(PERSON, identity=identity) for identity in range(33))}, "up to 32"),
        ({"people": (replace(PERSON, identity=256),)}, "identities"),
        ({"people": (replace(PERSON, identity=-1),)}, "identities"),
        ({"people": (replace(PERSON, score=float("nan")),)}, "score"),
        ({"people": (replace(PERSON, confidence={"root": 1.1}),)}, "confidence"),
        ({"people": (replace(PERSON, labels={"tail": np.zeros(1, np.float32)}),)}, "'tail'"),
        ({"people": (replace(PERSON, labels={"root": np.zeros(0, np.float32)}),)}, "'root'"),
        ({"people": (replace(PERSON, labels={"root": np.zeros(10, np.float32)}),)}, "'root'"),
        ({"people": (replace(PERSON, labels={"root": np.full(9, np.nan, np.float32)}),)}, "'root'"),
        ({"people": (replace(PERSON, labels={"root": np.full(9, -41, np.float32)}),)}, "41 standard deviations"),
    ],
)
def test_check_frame_beyond_the_limits(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_frame(replace(FRAME, **fields))


def test_limbs_of_no_confidence_at_all_are_unseen() -> None:
    confidence = {"head": 1 / 15, "left_leg": 0.0, "right_leg": 0.0, "hands": 0.0, "shape": 0.0}
    assert unseen_limbs(replace(PERSON, confidence=confidence)) == {"left_leg", "right_leg"}
    assert not unseen_limbs(replace(PERSON, confidence={})), "nothing is known of them"
