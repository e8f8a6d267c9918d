"""Scores of people: keypoints, identities, movement, silhouettes and depth."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.body.anatomy import COCO_KEYPOINTS, MIRRORED_KEYPOINTS
from common.errors import SourceError
from common.frames import Camera, PersonLabels
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.capture.source import CapturedFrame
from tests.bench import lag, side_views
from tests.bench.crops import TruePerson
from tests.bench.measures import Surface
from tests.bench.moving import Followed
from tests.bench.moving_clips import FRAMES
from tests.bench.photo_crops import BoxedPeople
from tests.bench.photo_scores import AnnotatedPerson, image_id, read_annotations, score_image, summary
from tests.bench.reconstruction_scores import image_figures
from tests.support.shapes import solved, sphere


def annotated(height: float, left: float = 0.0) -> AnnotatedPerson:
    """All keypoints labelled, on a vertical line of this height in pixels."""
    keypoints = np.stack([np.full(17, left), np.linspace(0.0, height, 17)], axis=1)
    box = np.array([left - 10, -10, left + 10, height + 10], np.float32)
    return AnnotatedPerson(keypoints, np.ones(17, dtype=bool), box)


def test_published_people_match_the_nearest_annotated_ones() -> None:
    tall, small = annotated(200.0), annotated(50.0, left=400.0)
    found = [small.keypoints + 3.0, tall.keypoints + np.array([12.0, 0.0]), tall.keypoints + 900.0]
    both = summary([score_image([tall, small], [person.astype(np.float32) for person in found])])
    # The tall person's error is 0.06 of the box, the small one's 0.085.
    assert (
        both.items() >= {"people": 2, "found": 2, "large_people": 1, "pck10": 1, "pck05": 0, "false_people": 1}.items()
    )
    other = annotated(200.0, left=1000.0)
    missed = summary([score_image([tall, other], [tall.keypoints.astype(np.float32)])])
    assert missed.items() >= {"found": 1, "pck05": 0.5, "pck05_of_found": 1}.items()
    labelled = np.arange(17) < 5
    elsewhere = np.where(labelled[:, None], tall.keypoints, -500.0).astype(np.float32)
    cut = AnnotatedPerson(tall.keypoints, labelled, tall.box)
    assert summary([score_image([cut], [elsewhere])])["pck05"] == 1
    assert np.isnan(summary([score_image([], [])])["pck05_of_found"])


def test_front_and_back() -> None:
    left = [COCO_KEYPOINTS[index].startswith("left") for index in range(17)]
    person = annotated(200.0)
    towards = replace(person, keypoints=person.keypoints + np.where(left, 20.0, -20.0)[:, None] * [1.0, 0.0])
    away = towards.keypoints[list(MIRRORED_KEYPOINTS)].astype(np.float32)
    figures = summary([score_image([towards], [towards.keypoints.astype(np.float32)]), score_image([towards], [away])])
    assert figures.items() >= {"facing": 0.5, "facing_people": 2}.items()
    # Seen from the side, neither is right or wrong; nor where one side is not annotated.
    hidden = replace(towards, labelled=np.array(left))
    for unknown in (person, hidden):
        figures = summary([score_image([unknown], [unknown.keypoints.astype(np.float32)])])
        assert figures["facing_people"] == 0 and np.isnan(figures["facing"])


def test_annotations_are_a_list_or_a_coco_file(tmp_path: Path) -> None:
    rows = np.stack([*annotated(100.0, 50.0).keypoints.T, np.full(17, 2)], axis=1).ravel().tolist()
    entries = [
        {"image_id": 1, "keypoints": rows},
        {"image_id": 2, "keypoints": rows, "bbox": [40, -5, 20, 110]},
        {"image_id": 8, "keypoints": [0.0] * 51},
    ]
    path = tmp_path / "people.json"
    for document in (entries, {"annotations": entries}):
        path.write_text(json.dumps(document))
        people = read_annotations(path)
        assert [people[1][0].box.tolist(), people[2][0].box.tolist()] == [[40, -10, 60, 110], [40, -5, 60, 105]]
        assert list(people) == [1, 2]
    for text in ("", "{}", "[1]", '[{"image_id": 1, "keypoints": [1, 2]}]'):
        path.write_text(text)
        with pytest.raises(SourceError, match=r"people\.json"):
            read_annotations(path)
    assert (image_id("COCO_val2014_000000000192.jpg"), image_id("holiday.jpg")) == (192, None)


def test_people_in_their_boxes() -> None:
    people = [
        AnnotatedPerson(
            np.stack([left + np.linspace(0, 60, 17), 60 + np.linspace(0, 60, 17)], axis=1),
            np.arange(17) != 3,
            np.array([left, 60, left + 60, 120], np.float32),
        )
        for left in (20, 120)
    ]
    image = np.full((200, 200, 3), 90, np.uint8)
    boxed = BoxedPeople([CapturedFrame(0, "photo_000012.jpg", 0.0, 0.0, image, Camera(200, 200, 240.0))], {12: people})
    true = [person.keypoints.astype(np.float32) for person in people]
    shifted = boxed.figures([true[0], true[1] + np.array([0.07 * 60, 0], np.float32)])
    assert (shifted["people"], shifted["pck05"], shifted["pck10"], shifted["pck10_standard_error"]) == (2, 0.5, 1, 0)
    # The mean of one person with all keypoints and one with none.
    assert shifted["pck05_standard_error"] == pytest.approx(0.5, abs=0.01)
    assert boxed.figures([true[0], np.full((17, 2), np.nan, np.float32)])["pck20"] == 0.5


def test_errors_of_moving_joints() -> None:
    truth = np.random.default_rng(0).normal(0, 0.3, (20, 17, 3))
    exact = {"seen": 1, "mpjpe_mm": 0, "pa_mpjpe_mm": 0, "acceleration_error_mm": 0, "side_in_front": 1}
    found = Followed(truth, truth).figures()
    assert {name: found[name] for name in exact} == pytest.approx(exact, abs=1e-6)
    joints = truth.copy()
    joints[:, 1:11] += np.array([0.01, 0, 0])
    joints[5] = np.nan
    shifted = Followed(joints, truth).figures()
    assert (shifted["seen"], shifted["mpjpe_mm"]) == pytest.approx((0.95, 10 * 10 / 17))
    assert shifted["acceleration_error_mm"] == pytest.approx(0, abs=1e-6)
    turned_back = truth.copy()
    turned_back[:5, :, [0, 2]] *= -1
    across = truth[:5, 11] - truth[:5, 12]
    wrong = (across[:, 1] ** 2 < across[:, 0] ** 2 + across[:, 2] ** 2).sum()
    assert Followed(turned_back, truth).figures()["side_in_front"] == pytest.approx(1 - wrong / 20)
    jump = truth.copy()
    jump[10:, 1:11] += 0.018
    # The second difference is off in two of 18 frames, by the jump each.
    assert Followed(jump, truth).figures()["acceleration_error_mm"] == pytest.approx(2 * 18 * 3**0.5 / 18 * 10 / 17)


BALL = solved(*sphere())


def test_mask_and_depth_of_a_sphere_against_its_rays() -> None:
    centre_m, camera = 3.0, Camera(64, 64, 128.0)
    y, x = (np.mgrid[0:32, 0:32] + 0.5 - 16.0) / 64.0
    squared = 1.0 + x**2 + y**2
    discriminant = centre_m**2 - squared * (centre_m**2 - 0.25)
    mask = discriminant > 0
    depth = np.where(mask, (centre_m - np.sqrt(np.maximum(discriminant, 0.0))) / squared - centre_m, 0.0)
    surface, keypoints = Surface(BALL.vertices, BALL.faces), np.zeros((17, 3), np.float32)
    labels = PersonLabels(0, 1.0, {})
    truth = TruePerson(labels, keypoints, BALL, surface, surface, BALL, camera, mask, depth.astype(np.float32))

    def moved(*by: float) -> SurfaceMesh:
        return replace(BALL, vertices=(BALL.vertices + by).astype(np.float32))

    exact = image_figures(BALL, centre_m, truth)
    assert exact["mask_iou"] > 0.96 and exact["depth_mm"] < 10
    assert image_figures(BALL, centre_m + 0.1, truth)["depth_mm"] == pytest.approx(100, abs=10)
    # A body moved along the optical axis keeps its depth error; only its silhouette grows.
    near = image_figures(moved(0.0, 0.0, -0.2), centre_m - 0.2, truth)
    assert near["depth_mm"] < 50 and near["mask_iou"] < 0.93
    away = image_figures(moved(5.0, 0.0, 0.0), centre_m, truth)
    assert away["mask_iou"] == 0 and np.isnan(away["depth_mm"])


def still_person(count: int) -> np.ndarray:
    """(T, 17, 3) of somebody who stands upright and faces the camera, y down, metres."""
    heights = {"shoulder": -0.5, "elbow": -0.25, "wrist": 0.0, "hip": 0.0, "knee": 0.45, "ankle": 0.9}
    joints = np.zeros((count, 17, 3))
    for index, name in enumerate(COCO_KEYPOINTS):
        side, _, part = name.partition("_")
        joints[:, index] = 0.15 if side == "left" else -0.15, heights.get(part, -0.7), 3.0
    return joints


def test_lag_of_a_wrist_is_told_from_what_is_lost_of_its_way() -> None:
    late, share, frames = 2, 0.8, np.arange(FRAMES + 2)
    for hertz, name in ((0, "step"), (2, "2hz")):
        way = 0.1 * (np.sin(2 * np.pi * hertz * frames / 30) if hertz else np.clip(frames - 32, 0, 3))
        truth, found = still_person(FRAMES), still_person(FRAMES)
        wrist = COCO_KEYPOINTS.index("left_wrist")
        truth[:, wrist, 1] -= way[late:]
        found[:, wrist, 1] -= share * way[:FRAMES]
        figures = lag.figures(Followed(found, truth), hertz)
        assert figures[f"{name}_delay_ms"] == pytest.approx(1000 * late / 30)
        assert figures[f"{name}_loss"] == pytest.approx(1 - share)
        assert figures.get("rest_jitter_mm", 0) == pytest.approx(0, abs=1e-6)


def test_knees_and_trunk_lean_whichever_way_a_person_faces() -> None:
    upright = still_person(1)[0]
    assert side_views.trunk_deg(upright) == pytest.approx(0)
    bent = upright.copy()
    # Towards the camera, which the person faces: the trunk by 45°, the right knee by 90°.
    bent[COCO_KEYPOINTS.index("left_shoulder") :][:2, 2] -= 0.5
    bent[COCO_KEYPOINTS.index("right_ankle")] = bent[COCO_KEYPOINTS.index("right_knee")] + [0, 0, 0.45]
    for turned in (bent, bent[:, [2, 1, 0]] * (1, 1, -1)):
        assert side_views.trunk_deg(turned) == pytest.approx(45)
        assert side_views.knees_deg(turned) == pytest.approx([0, 90], abs=1e-4)
