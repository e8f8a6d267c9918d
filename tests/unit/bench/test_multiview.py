"""The truth of the bench with several views, and who is published of it."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import Float64Array
from common.body.anatomy import COCO_KEYPOINTS, MIRRORED_KEYPOINTS
from tests.bench.multiview import PublishedPerson, followed
from tests.bench.multiview_truth import CalibratedCamera, SeenKeypoints, same_people, triangulated

_HEIGHTS = {"shoulder": 1.45, "elbow": 1.2, "wrist": 1.0, "hip": 0.95, "knee": 0.5, "ankle": 0.1}


def person(x: float, y: float) -> Float64Array:
    """(17, 3) somebody who stands at x, y and faces along y, in a world whose z points up."""
    side = {"left": -0.2, "right": 0.2}
    return np.array(
        [
            [x + side.get(name.split("_")[0], 0.0), y + 0.03 * row % 0.2, _HEIGHTS.get(name.split("_")[-1], 1.6)]
            for row, name in enumerate(COCO_KEYPOINTS)
        ]
    )


def camera(degrees: float, roll: float = 0.0) -> CalibratedCamera:
    """4 m from the origin and 1.2 m high, looking there; rolled clockwise by `roll` radians."""
    angle = np.radians(degrees)
    back = np.array([np.sin(angle), np.cos(angle), 0.0])
    forward, down = -back, np.array([0.0, 0.0, -1.0])
    across = np.cross(down, forward)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.stack([across, down, forward])
    matrix = np.array([[1000.0, 0, 400], [0, 1000, 600], [0, 0, 1]])
    place = 4 * back + np.array([0.0, 0.0, 1.2])
    return CalibratedCamera(f"{degrees:.0f}", matrix, np.zeros(4), rotation, -rotation @ place)


CAMERAS = [camera(degrees) for degrees in (0, 70, 160, 250)]


def seen(view: CalibratedCamera, joints: Float64Array) -> SeenKeypoints:
    return SeenKeypoints(view.project(joints), np.full(17, 5.0))


def test_triangulation_of_exact_views() -> None:
    joints = person(0.3, -0.2)
    assert triangulated(CAMERAS, [seen(view, joints) for view in CAMERAS]) == pytest.approx(joints, abs=1e-6)


def test_two_people_are_told_apart() -> None:
    people = [person(-0.7, 0.0), person(0.6, 0.3)]
    views = [[seen(view, joints) for joints in people] for view in CAMERAS]
    views[2].reverse()
    views[3].pop()
    found = same_people(CAMERAS, views, 3)
    assert len(found) == 2
    for joints in people:
        assert min(np.abs(one - joints).max() for one in found) < 0.02


def test_who_is_published_is_the_nearest_and_is_measured_relative_to_the_hips() -> None:
    view = CAMERAS[0]
    truth = np.stack([person(0.3, -0.2)] * 3)
    own, places = (values.astype(np.float32) for values in (view.to_camera(truth[0]), view.project(truth[0])))
    found = PublishedPerson(4, own + np.array([0.0, 0.0, 0.5], np.float32), places + 3)
    back = replace(found, identity=5, joints=own[MIRRORED_KEYPOINTS])
    stranger = replace(found, identity=9, keypoints=found.keypoints + 500)
    figures = followed([[stranger, found], [back], [stranger]], view, truth).figures()
    assert figures["found"] == pytest.approx(2 / 3)
    assert figures["identities"] == 2
    assert figures["exchanged"] == 0.5
    assert figures["mpjpe_mm"] == pytest.approx(200, abs=5)
