"""How the bench of overload sums up."""

import pytest

from common.errors import OutputError
from common.frames import Camera, LabelFrame
from sender.link.observer import Fate
from tests.bench.overload import Session, figures

FRAME = LabelFrame(0, "test", 1.0, Camera(640, 480, 600.0), ())
MEMORY = [(100.0, 200.0), (110.0, 210.0), (111.0, 211.0), (112.0, 212.0), (113.0, 213.0)]


def session(accepted_s: float | None, offered: int = 0, *fates: Fate) -> Session:
    made = Session(accepted_s=accepted_s, offered=offered, ages_ms=[50.0] * len(fates))
    for fate in fates:
        made.ended(FRAME, fate)
    return made


def test_late_and_superseded_frames_are_not_kept() -> None:
    kept = session(0.0, 4, Fate.ACKNOWLEDGED, Fate.LATE, Fate.SUPERSEDED, Fate.ACKNOWLEDGED).kept
    assert kept == pytest.approx(0.5)


def test_sessions_accepted_late_or_never_are_counted_and_not_measured() -> None:
    sessions = [
        session(0.0, 2, Fate.ACKNOWLEDGED, Fate.ACKNOWLEDGED),
        session(50.0, 4, *[Fate.ACKNOWLEDGED] * 3),
        session(95.0, 10),
        session(None),
    ]
    found = figures(sessions, MEMORY, end_s=100.0)
    assert (found["sessions"], found["accepted"], found["refused"]) == (4, 3, 1)
    assert (found["kept_min_share"], found["kept_mean_share"]) == pytest.approx((0.75, 0.875))
    assert (found["receiver_first_mb"], found["receiver_last_mb"]) == (110.0, 113.0)
    assert (found["replicas_first_mb"], found["replicas_last_mb"]) == (210.0, 213.0)


def test_run_in_which_nobody_is_accepted_fails() -> None:
    with pytest.raises(OutputError, match="no session was accepted"):
        figures([session(None)], MEMORY, end_s=100.0)
