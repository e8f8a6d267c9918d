import math
from pathlib import Path

import numpy as np
import pytest

from receiver.report.contact_sheet import caption, fit_focal_px, read_clip, render_people, spread
from receiver.report.summary import read_frames
from tests.support.published_session import FRAMES, person_record, publish


def test_read_clip_counts_frames_and_keeps_a_selection(clip: Path) -> None:
    read = read_clip(clip)
    assert read.frame_count == FRAMES
    assert sorted(read.frames) == spread(FRAMES, 8)
    assert abs(float(read.frames[3].mean()) - 120.0) < 4.0


def test_spread_is_centred() -> None:
    assert spread(96, 8) == [6, 18, 30, 42, 54, 66, 78, 90]
    assert spread(1, 8) == [0]


def test_fit_focal_px_recovers_the_camera() -> None:
    person = person_record()
    assert fit_focal_px(person.keypoints_2d, person.joints_3d, 200, 160) == pytest.approx(240.0, rel=1e-4)


def test_render_people_scales_with_the_image(tmp_path: Path) -> None:
    out = publish(tmp_path / "out", frames=1)
    (record,) = read_frames(out)
    source = np.zeros((160, 200, 3), np.uint8)
    small, large = (render_people(out, record, "surface", source, scale) for scale in (1.0, 3.0))
    assert small.shape == (160, 200, 3) and large.shape == (480, 600, 3)
    areas = [int((image.min(axis=2) < 255).sum()) for image in (small, large)]
    assert areas[1] == pytest.approx(9 * areas[0], rel=0.05)


def test_render_people_from_the_side_shows_the_depth_of_the_box(tmp_path: Path) -> None:
    out = publish(tmp_path / "out", frames=1)
    (record,) = read_frames(out)
    source = np.zeros((160, 200, 3), np.uint8)
    views = [render_people(out, record, "surface", source, 4.0, yaw_rad) for yaw_rad in (0.0, math.pi / 2)]
    front, side = (int((image.min(axis=2) < 255).any(axis=0).sum()) for image in views)
    # The box is 0.4 m wide and 0.3 m deep.
    assert 0.65 < side / front < 0.85


def test_render_people_without_a_record_is_white(tmp_path: Path) -> None:
    assert (render_people(tmp_path, None, "surface", np.zeros((160, 200, 3), np.uint8)) == 255).all()


def test_caption_has_black_text_on_white() -> None:
    strip = caption("58 bytes", 120, 20)
    assert strip.shape == (20, 120, 3)
    assert strip.min() < 60 and (strip[:, :10] == 255).all()
    assert (caption("", 120, 20) == 255).all()
