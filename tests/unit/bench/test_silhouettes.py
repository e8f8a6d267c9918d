"""Figures of the silhouettes bench."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import COCO_KEYPOINTS, MIRRORED_KEYPOINTS
from common.errors import SourceError
from tests.bench.silhouettes import Match, figures, longest_swap, read_mask


def walker(frame: int) -> FloatArray:
    """Keypoints of a person who moves a little in each frame; left is 40 pixels right of right."""
    side = np.array([40.0 if name.startswith("left") else 0.0 for name in COCO_KEYPOINTS])
    return np.stack([side + 2 * frame, np.linspace(0, 160, 17)], axis=1).astype(np.float32)


def test_steady_person_is_never_exchanged() -> None:
    assert longest_swap([walker(frame) for frame in range(40)]) == 0
    assert longest_swap([]) == longest_swap([walker(0)]) == 0


@pytest.mark.parametrize("wrong", [range(10, 13), range(5), range(28, 40)])
def test_longest_run_of_exchanged_frames(wrong: range) -> None:
    tracks = [walker(frame)[MIRRORED_KEYPOINTS] if frame in wrong else walker(frame) for frame in range(40)]
    tracks[20] = walker(20)[MIRRORED_KEYPOINTS]
    assert longest_swap(tracks) == len(wrong)


def test_frames_without_the_person_count_as_iou_0() -> None:
    matches = [Match(3, 0.8, 0.7, walker(0)), None, Match(3, 0.6, 0.6, walker(2)), Match(4, 0.7, 0.5, walker(3))]
    result = figures(matches)
    assert (result["frames"], result["found_share"], result["identities"]) == (4, 0.75, 2)
    assert result["iou_median"] == pytest.approx(0.65)
    assert result["identity_share"] == pytest.approx(2 / 3)
    assert figures([None, None])["iou_median"] == 0
    assert result["bare_iou_median"] == pytest.approx(0.55)


def test_gain_of_clothes_is_that_of_the_matches_alone() -> None:
    matches = [Match(3, 0.8, 0.7, walker(0)), None, Match(3, 0.7, 0.5, walker(2))]
    result = figures(matches)
    assert result["iou_gain"] == pytest.approx(0.15)
    assert result["iou_gain_standard_error"] == pytest.approx(0.05)
    assert np.isnan(figures([None])["iou_gain"])


def test_missing_mask_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "00001.png"), np.array([[0, 255], [200, 20]], np.uint8))
    assert read_mask(tmp_path / "00001.png").tolist() == [[False, True], [True, False]]
    with pytest.raises(SourceError, match=r"00002\.png"):
        read_mask(tmp_path / "00002.png")
