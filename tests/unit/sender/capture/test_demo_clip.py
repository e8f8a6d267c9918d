from pathlib import Path

import av
import numpy as np


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
