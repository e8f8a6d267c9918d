from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from common.errors import UsageError
from common.frames import Camera
from common.synthetic.render_clip import FOCAL_PX, HEIGHT, WIDTH, choose_clip, draw, place_motion
from common.synthetic.scene.scene import SceneMaker


def test_person_stays_inside_the_image(training_scenes: SceneMaker) -> None:
    motion = choose_clip("cmu/002_06", 60)
    sparse = replace(
        motion, rotation_vectors=motion.rotation_vectors[::20], root_translation=motion.root_translation[::20]
    )
    placed = place_motion(training_scenes.model, sparse, row=9)
    drawn = list(draw(training_scenes.renderer, placed, seed=1))
    keypoints = np.stack([Camera(WIDTH, HEIGHT, FOCAL_PX).project(each) for each in placed.keypoints])
    frames = [frame.picture for frame in drawn]
    assert [frame.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 3
    assert keypoints.min() > 0
    assert (keypoints < [WIDTH, HEIGHT]).all()
    hips = keypoints[:, 11:13].mean(1).astype(int)
    assert all(frame.coverage[y, x] == 255 for frame, (x, y) in zip(drawn, hips, strict=True))
    assert all(frame.coverage[0].max() == 0 < frame.coverage.mean() < 128 for frame in drawn)
    still = np.abs(frames[0].astype(int) - frames[2]).max(2) < 40
    assert 0.5 < still.mean() < 0.999, "the room is static, the person moves"


def test_unknown_motion_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no test clip"):
        choose_clip("cmu/999_99", 10)


def test_demo_clip_ships_with_its_truth() -> None:
    data = Path(__file__).parents[4] / "sender" / "capture" / "data"
    assert (data / "demo.mp4").stat().st_size < 2_000_000
    with av.open(str(data / "demo.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (640, 480, 300)
        assert stream.average_rate is not None
        assert float(stream.average_rate) == 30
    with np.load(data / "demo.truth.npz") as truth:
        assert truth["joints_3d"].shape == (300, 17, 3)
        projected = truth["focal_px"] * truth["joints_3d"][..., :2] / truth["joints_3d"][..., 2:] + [320, 240]
        np.testing.assert_allclose(projected, truth["keypoints_2d"], atol=0.01)
