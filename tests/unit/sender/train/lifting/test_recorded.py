"""Windows of clips, and their errors, of clips in which nobody errs."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest

from sender.train.lifting.recorded import RecordedClips, backwards, smoothed


@pytest.mark.parametrize("causal", [False, True])
def test_clips_in_which_nobody_errs(clips: RecordedClips, *, causal: bool) -> None:
    moving, _, errors, seen = clips.draw(20, 8, np.random.default_rng(0), causal=causal)
    npt.assert_allclose(errors.offset, 0, atol=1e-3)
    npt.assert_allclose(errors.fitted.entries[seen][..., 6:], 0, atol=5e-3)
    npt.assert_allclose(errors.fitted.turn, np.broadcast_to(np.eye(3), errors.fitted.turn.shape), atol=1e-3)
    npt.assert_allclose(errors.joints_3d, 0, atol=1e-4)
    assert {round(30 * time_s) for time_s in moving.time_s[~seen]} <= {5, 58}
    assert moving.inside.all()
    # Smoothing lags, and less so where it knows what follows.
    assert 0 < np.abs(errors.smoothed.entries[seen][:, 6:]).mean() < (0.06 if causal else 0.03)


def test_smoothing_moves_bodies_that_shake(clip_folder: Path) -> None:
    with np.load(clip_folder / "train" / "0000.npz") as file:
        clip = {**file, "view": np.full(64, 0.5, np.float32)}
    noise = np.random.default_rng(0).normal(0, 0.1, clip["entries"].shape).astype(np.float32)
    found = smoothed({**clip, "entries": clip["entries"] + noise})
    errors = {
        name: (found[name] - clip["entries"])[clip["seen"], 9:] for name in ("entries", "smoothed", "smoothed_later")
    }
    sizes = {name: float(np.abs(each[10:-10]).mean()) for name, each in errors.items()}
    assert sizes["smoothed_later"] < sizes["smoothed"] < 0.7 * sizes["entries"]
    assert not found["smoothed"][~clip["seen"]].any()


def test_a_clip_is_played_from_its_end(clip_folder: Path) -> None:
    with np.load(clip_folder / "train" / "0000.npz") as file:
        clip = dict(file)
    played = backwards(clip)
    npt.assert_array_equal(played["pelvis"], clip["pelvis"][::-1])
    for name in ("time_s", "size", "camera", "still"):
        npt.assert_array_equal(played[name], clip[name])


def test_transplanted_errors_are_those_of_the_clips(clips: RecordedClips) -> None:
    """Keypoints that are outside of the picture are anywhere, and say that they hardly know."""
    rng, time_s = np.random.default_rng(0), np.tile(np.arange(12) / 30, (30, 1))
    inside = rng.random((30, 12, 17)) < 0.8
    errors, seen = clips.errors(inside, time_s, rng, causal=True)
    known = inside & seen[..., None]
    npt.assert_allclose(errors.offset[known], 0, atol=1e-3)
    assert np.abs(errors.offset[~known]).mean() > 0.05
    assert errors.sigma[~known].min() > 2 * errors.sigma[known].max()
    assert errors.visible[~known].max() < errors.visible[known].min()
    npt.assert_allclose(errors.fitted.entries[seen][:, 9:], 0, atol=5e-3)
    assert 0.9 < seen.mean() < 1
