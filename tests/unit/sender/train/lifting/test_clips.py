"""Rendered clips: what networks see of them is near the truth, and is what the lifting's training reads."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest

from common.frames import Camera
from common.synthetic.motion.windows import write_windows
from sender.perception.crop import CropBox
from sender.train.lifting import clips
from sender.train.lifting.recorded import RecordedClips
from tests.support.motion.made_motion import gliding


@pytest.mark.slow
def test_what_is_seen_is_near_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "FRAMES", 3)
    write_windows([gliding("cmu/013_18", 20, 0.3)], tmp_path / "windows", 30)
    flags = ["clips", "--windows", str(tmp_path / "windows"), "--out", str(tmp_path), "--count", "1", "--seed", "3"]
    monkeypatch.setattr("sys.argv", flags)
    clips.main()
    path = tmp_path / "train" / "0000.npz"
    with np.load(path) as file:
        clip = dict(file)
    camera = Camera(int(clip["camera"][0]), int(clip["camera"][1]), float(clip["camera"][2]))
    assert clip["seen"].all()
    for row, keypoints in enumerate(clip["keypoints"] + clip["pelvis"][:, None]):
        left, top, side = clip["crop"][row, :3].astype(int)
        true = CropBox(left, top, side, float(clip["crop"][row, 3])).to_units(camera.project(keypoints))
        wrong = np.linalg.norm(clip["keypoints_2d"][row] - true, axis=-1)
        assert np.median(wrong[((true > 0) & (true < 1)).all(-1)]) < 0.04
    moving, _, _, seen = RecordedClips.read(path.parent).draw(4, 2, np.random.default_rng(0), causal=True)
    assert seen.all()
    npt.assert_allclose(np.linalg.norm(moving.up, axis=-1), 1, atol=1e-5)
