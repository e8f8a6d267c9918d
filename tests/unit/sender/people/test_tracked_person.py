"""Where somebody is looked for."""

import numpy as np
import pytest

from sender.perception.track import EXTRAPOLATED_S, TrackedPerson


@pytest.mark.parametrize(("unseen_s", "moved_s"), [(0.1, 0.1), (2.0, EXTRAPOLATED_S)])
def test_a_box_is_extrapolated_for_a_short_time(unseen_s: float, moved_s: float) -> None:
    box, velocity = np.array([10, 20, 60, 140], np.float32), np.array([30, 0, 30, 0], np.float32)
    person = TrackedPerson(0, box, velocity=velocity, unseen_s=unseen_s)
    assert person.predicted() == pytest.approx(box + moved_s * velocity)
