from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from common.synthetic.motion.poses import load_table
from common.synthetic.motion.windows import KINDS, clip_kind, open_windows, write_windows
from tests.support.motion.made_motion import gliding


@pytest.mark.parametrize(
    ("name", "activity", "kind"),
    [
        ("rocketbox/f_gestic_listen_accept_01", "", "stand_talk"),
        ("rocketbox/m_invite_sit", "", "gesture"),
        ("rocketbox/m_sit_table_idle_yawn", "", "sit"),
        ("rocketbox/f_sit_chair_gestic_shrug_01", "", "sit"),
        ("rocketbox/f_run_neutral_01", "", "run"),
        ("mesh2motion/Roll_RM", "", "crouch_lie"),
        ("mesh2motion/Flying_Forward", "", "other"),
        ("rocketbox/f_idle_roll_head_01", "", "stand_talk"),
        ("cmu/013_10", "jump up to grab, reach for, tiptoe", "reach"),
        ("cmu/013_18", "boxing", "sport"),
        ("cmu/014_29", "sit on stepstool, stand up, swing legs", "sit"),
        ("cmu/005_13", "", "dance"),
        ("uiprmd/m01_s02_e03", "deep squat", "crouch_lie"),
    ],
)
def test_kind_by_name_and_activity(name: str, activity: str, kind: str) -> None:
    assert clip_kind(name, activity) == kind


def test_every_clip_of_the_package_has_a_kind() -> None:
    kinds = {name: clip_kind(name) for name in load_table().clip_names}
    assert set(kinds.values()) <= set(KINDS)
    assert [name for name, kind in kinds.items() if kind == "other"] == ["makehuman/fly01", "makehuman/fly02"]


_standing = partial(gliding, curl=0.2)


def test_windows_lie_inside_clips_of_the_split(tmp_path: Path) -> None:
    motions = [_standing("cmu/013_18", 10), _standing("cmu/014_29", 7, 1.5), _standing("cmu/008_01", 4)]
    write_windows(motions, tmp_path, 30.0)
    windows = open_windows(tmp_path)
    starts, clips = windows.starts("train", frames=4, stride=3)
    assert starts.tolist() == [0, 3, 6, 17] and clips.tolist() == [0, 0, 0, 2]
    assert windows.starts("test", 4)[0].tolist() == [10, 11, 12, 13]
    assert len(windows.starts("val", 4)[0]) == 0
    assert windows.joints.shape == windows.rotations.shape == (21, 22, 3)
    assert windows.root.shape == (21, 3) and np.allclose(windows.curl, 0.2)
    assert windows.kinds == ("other", "other", "other")


def test_feet_that_stand_touch_at_any_rate_and_feet_that_glide_or_hover_do_not(tmp_path: Path) -> None:
    hovering = replace(_standing("hovers", 6), root_translation=np.tile([0.0, -1.2, 0.0], (6, 1)))
    write_windows([_standing("stands", 6), _standing("glides", 6, 1.0), hovering], tmp_path, 30.0)
    contacts = open_windows(tmp_path).contacts
    assert contacts[:6].all() and not contacts[6:].any()
    write_windows([_standing("glides", 31, 1.0)], tmp_path, 60.0)
    twice = open_windows(tmp_path)
    assert twice.lengths.tolist() == [61] and np.allclose(np.diff(twice.root[:, 0]), 1.0 / 60.0, atol=1e-6)


def test_folder_of_another_version_or_frame_rate_is_refused(tmp_path: Path) -> None:
    write_windows([_standing("stands", 3)], tmp_path, 30.0)
    assert open_windows(tmp_path, 30.0).fps == 30
    with pytest.raises(ValueError, match="30 frames a second, not 60"):
        open_windows(tmp_path, 60.0)
    np.savez(tmp_path / "clips.npz", version=0)
    with pytest.raises(ValueError, match="version 0"):
        open_windows(tmp_path)
