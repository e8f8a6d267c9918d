import numpy as np

from common.body.label_space import LabelSpace
from common.labels import LABEL_SIZE, group_slices
from common.synthetic.motion.motion_table import clips
from common.training.label_sequences import label_clip


def test_label_clip_changes_the_pose_and_keeps_the_person() -> None:
    clip = clips("test")[0]
    labels = label_clip(LabelSpace.load(), clip, 0.0, np.random.default_rng(1))
    assert labels.shape == (len(clip.rotation_vectors), LABEL_SIZE)
    assert np.isfinite(labels).all()
    deviation = labels.std(axis=0)
    slices = group_slices()
    assert deviation[slices["left_leg"]][0] > 0.1
    assert deviation[slices["shape"]].max() < 1e-5 and deviation[slices["appearance"]].max() < 1e-5


def test_label_clip_with_jitter_differs_by_the_jitter() -> None:
    clip, space = clips("test")[0], LabelSpace.load()
    clean, noisy = (label_clip(space, clip, jitter, np.random.default_rng(1)) for jitter in (0.0, 0.05))
    assert 0.045 < (noisy - clean).std() < 0.055
