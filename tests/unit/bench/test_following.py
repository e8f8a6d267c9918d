"""Figures of the following bench from boxes."""

import numpy as np
import pytest

from common.arrays import Box
from tests.bench.following import score_clip, summary
from tests.bench.tilted_clips import HIDDEN_FRAMES, box_of, hidden_columns

TRUE = np.array([100, 100, 140, 200], np.float32)
LARGE = np.array([0, 0, 400, 400], np.float32)


def repeated(box: Box, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.tile(box, (count, 1)).astype(np.float32)


def test_person_who_is_followed() -> None:
    score = score_clip(repeated(TRUE, 20), np.ones(20, np.float32), [TRUE] * 19 + [None], detections=2)
    assert (score.visible, score.followed, score.lost, score.grown, score.false_people) == (20, 19, 1, 0, 0)
    figures = summary([score, score])
    assert figures["followed_share"] == pytest.approx(0.95)
    assert figures["standard_error"] == 0
    assert figures["detections_share"] == pytest.approx(0.1)


@pytest.mark.parametrize(("frames", "grown"), [(5, 0), (6, 1)])
def test_box_that_grows_away_counts_after_five_frames(frames: int, grown: int) -> None:
    found = [TRUE] * (20 - frames) + [LARGE] * frames
    assert score_clip(repeated(TRUE, 20), np.ones(20, np.float32), found, detections=2).grown == grown


def test_frames_until_person_is_found_again_after_occlusion() -> None:
    visible = np.array([1] * 5 + [0] * 5 + [0.3] * 2 + [1] * 8, np.float32)
    found = [TRUE] * 5 + [None] * 10 + [TRUE] * 5
    assert score_clip(repeated(TRUE, 20), visible, found, detections=2).refound == (3,)
    never = [TRUE] * 5 + [None] * 15
    assert score_clip(repeated(TRUE, 20), visible, never, detections=2).refound == (8,)


def test_person_who_enters_is_not_found_again() -> None:
    visible = np.array([0] * 5 + [1] * 15, np.float32)
    assert score_clip(repeated(TRUE, 20), visible, [None] * 5 + [TRUE] * 15, detections=2).refound == ()


def test_boxes_on_nobody_are_false_people() -> None:
    visible = np.array([1] * 8 + [0] * 2, np.float32)
    elsewhere = np.array([300, 300, 350, 390], np.float32)
    found = [TRUE] * 6 + [elsewhere] * 2 + [TRUE] * 2
    assert score_clip(repeated(TRUE, 10), visible, found, detections=2).false_people == 4


def test_board_hides_the_person_for_fifteen_frames() -> None:
    mask = np.zeros((100, 200), np.bool_)
    mask[20:80, 90:110] = True
    shown = [int((mask & ~hidden_columns(index, mask)).sum()) for index in range(60)]
    assert sum(count == 0 for count in shown) in (HIDDEN_FRAMES, HIDDEN_FRAMES + 1)
    assert shown[0] == shown[-1] == mask.sum()
    assert box_of(mask) == pytest.approx(np.array([90, 20, 110, 80]))
