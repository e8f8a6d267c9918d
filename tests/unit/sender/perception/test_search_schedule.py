import numpy as np
import pytest

from common.arrays import Box, Image
from sender.perception.detect import SearchSchedule

PERSON = np.array([100, 100, 200, 400], np.float32)
RNG = np.random.default_rng(7)
ROOM = np.repeat(RNG.integers(40, 200, (48, 64, 1), np.uint8), 3, axis=2).repeat(10, 0).repeat(10, 1)


def searched(schedule: SearchSchedule, images: list[Image], boxes: list[Box], first_s: float = 1.0) -> list[bool]:
    """Of frames that are 0.15 s apart."""
    return [schedule.due(image, boxes, first_s + 0.15 * frame) for frame, image in enumerate(images)]


def with_box(image: Image, box: Box, level: int) -> Image:
    x0, y0, x1, y1 = box.astype(int)
    changed = image.copy()
    changed[y0:y1, x0:x1] = level
    return changed


def noisy(image: Image) -> Image:
    return np.clip(image + RNG.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("fps", [5, 30, 240])
def test_searches_are_as_frequent_at_any_frame_rate(fps: int) -> None:
    schedule = SearchSchedule()
    assert sum(schedule.due(ROOM, [], frame / fps) for frame in range(12 * fps)) == pytest.approx(36, abs=7)


@pytest.mark.parametrize(("fps", "searched"), [(5, 5), (30, 30), (240, 30)])
def test_urgent_searches_do_not_follow_each_other_faster_than_usual_frames(fps: int, searched: int) -> None:
    for boxes in ([], [PERSON]):
        schedule = SearchSchedule()
        searches = [schedule.searches(ROOM, boxes, frame / fps, urgent=True) for frame in range(fps)]
        assert searches[0] and sum(searches) == pytest.approx(searched, abs=3)


@pytest.mark.parametrize("boxes", [[PERSON], []], ids=["followed", "nobody"])
def test_still_scene_is_searched_rarely_once_somebody_is_followed(boxes: list[Box]) -> None:
    images = [noisy(ROOM) for _ in range(30)]
    assert sum(searched(SearchSchedule(), images, boxes)) == (1 + 14 // 4 if boxes else 15)


def test_known_people_who_move_and_light_that_changes_are_no_reason() -> None:
    images = [with_box(ROOM, PERSON + frame % 7, frame) for frame in range(40)]
    images += [image + np.uint8(3 * frame) for frame, image in enumerate(images[:18])]
    assert sum(searched(SearchSchedule(), images, [PERSON])) == 1 + (len(images) // 2 - 1) // 4


def test_somebody_who_comes_is_searched_for_at_once() -> None:
    schedule = SearchSchedule()
    still = searched(schedule, [ROOM] * 8, [PERSON])
    newcomer = np.array([560, 200, 600, 280], np.float32)
    coming = [
        with_box(ROOM, newcomer - np.float32(4 * frame) * np.array([1, 0, 1, 0], np.float32), 20) for frame in range(20)
    ]
    assert sum(still) == 1 and sum(searched(schedule, coming, [PERSON], 2.2)) == 10
