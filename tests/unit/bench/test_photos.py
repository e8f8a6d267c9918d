"""Figures of the photos bench: found people, keypoint accuracy, false people."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import SourceError
from tests.bench.photo_scores import AnnotatedPerson, image_id, read_annotations, score_image, summary


def _person(height: float, left: float = 0.0) -> AnnotatedPerson:
    """All keypoints labelled, on a vertical line of this height in pixels."""
    keypoints = np.stack([np.full(17, left), np.linspace(0.0, height, 17)], axis=1)
    box = np.array([left - 10, -10, left + 10, height + 10], np.float32)
    return AnnotatedPerson(keypoints, np.ones(17, dtype=bool), box)


def test_people_match_the_nearest_and_the_rest_are_false() -> None:
    tall, small = _person(200.0), _person(50.0, left=400.0)
    found = [small.keypoints + 3.0, tall.keypoints + np.array([12.0, 0.0]), tall.keypoints + 900.0]
    score = score_image([tall, small], [person.astype(np.float32) for person in found])
    assert score.false_people == 1
    figures = summary([score])
    assert figures["people"] == figures["found"] == 2
    assert figures["large_people"] == figures["large_found"] == 1
    # The tall person's error is 0.06 of the box, the small one's 0.085.
    assert figures["pck10"] == 1.0
    assert figures["pck05"] == 0.0
    assert figures["false_people"] == 1


def test_keypoints_of_people_not_found_count_as_missed() -> None:
    tall, other = _person(200.0), _person(200.0, left=1000.0)
    figures = summary([score_image([tall, other], [tall.keypoints.astype(np.float32)])])
    assert figures["found"] == 1
    assert figures["pck05"] == 0.5
    assert figures["pck05_of_found"] == 1.0


def test_unlabelled_keypoints_are_ignored() -> None:
    person = _person(100.0)
    labelled = np.arange(17) < 5
    cut = AnnotatedPerson(person.keypoints, labelled, person.box)
    wrong_elsewhere = np.where(labelled[:, None], person.keypoints, -500.0).astype(np.float32)
    assert summary([score_image([cut], [wrong_elsewhere])])["pck05"] == 1.0


def test_summary_without_people() -> None:
    figures = summary([score_image([], [])])
    assert figures["people"] == figures["false_people"] == 0
    assert np.isnan(figures["pck05_of_found"])


def test_read_annotations_from_a_list_or_a_coco_file(tmp_path: Path) -> None:
    entry = {
        "image_id": 7,
        "keypoints": np.stack([*_person(90.0).keypoints.T, np.full(17, 2)], axis=1).ravel().tolist(),
    }
    sparse = {"image_id": 8, "keypoints": [0.0] * 51}
    for name, document in {"list": [entry, sparse], "coco": {"annotations": [entry, sparse]}}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        people = read_annotations(path)
        assert list(people) == [7]
        assert people[7][0].height_px == 90.0


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"image_id": 1, "keypoints": [1, 2]}]'])
def test_read_annotations_names_a_file_without_keypoints(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"other\.json"):
        read_annotations(path)


def test_image_id_is_the_number_at_the_end_of_a_name() -> None:
    assert image_id("COCO_val2014_000000000192.jpg") == 192
    assert image_id("holiday.jpg") is None


def test_box_is_annotated_or_around_the_keypoints(tmp_path: Path) -> None:
    rows = np.stack([*_person(100.0, left=50.0).keypoints.T, np.full(17, 2)], axis=1).ravel().tolist()
    path = tmp_path / "people.json"
    path.write_text(
        json.dumps([{"image_id": 1, "keypoints": rows}, {"image_id": 2, "keypoints": rows, "bbox": [40, -5, 20, 110]}])
    )
    people = read_annotations(path)
    assert people[1][0].box.tolist() == [40, -10, 60, 110]
    assert people[2][0].box.tolist() == [40, -5, 60, 105]
