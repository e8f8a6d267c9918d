import pytest

from common.synthetic.motion.poses import load_table
from common.synthetic.motion.windows import KINDS, clip_kind


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
