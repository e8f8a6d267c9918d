"""Windows of clips, and their errors, of clips in which nobody errs."""

import numpy as np
import numpy.testing as npt

from sender.train.lifting.recorded import RecordedClips


def test_clips_in_which_nobody_errs(clips: RecordedClips) -> None:
    moving, _, errors, seen = clips.draw(20, 8, np.random.default_rng(0))
    npt.assert_allclose(errors.offset, 0, atol=1e-3)
    npt.assert_allclose(errors.entries[..., 6:], 0, atol=5e-3)
    npt.assert_allclose(errors.turn, np.broadcast_to(np.eye(3), errors.turn.shape), atol=1e-3)
    npt.assert_allclose(errors.joints_3d, 0, atol=1e-4)
    npt.assert_array_equal(seen, ~np.isclose(moving.time_s, 5 / 30))
    assert moving.inside.all()


def test_transplanted_errors_are_those_of_the_clips(clips: RecordedClips) -> None:
    """Keypoints that are outside of the picture are anywhere, and say that they hardly know."""
    rng, time_s = np.random.default_rng(0), np.tile(np.arange(12) / 30, (30, 1))
    inside = rng.random((30, 12, 17)) < 0.8
    errors, seen = clips.errors(inside, time_s, rng)
    known = inside & seen[..., None]
    npt.assert_allclose(errors.offset[known], 0, atol=1e-3)
    assert np.abs(errors.offset[~known]).mean() > 0.05
    assert errors.sigma[~known].min() > 2 * errors.sigma[known].max()
    assert errors.visible[~known].max() < errors.visible[known].min()
    npt.assert_allclose(errors.entries[seen][:, 9:], 0, atol=5e-3)
    assert 0.9 < seen.mean() < 1
