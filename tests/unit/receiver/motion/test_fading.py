"""What becomes of faces and fingers that are not seen any more."""

import numpy as np
import pytest

from common.frames import PersonLabels
from receiver.motion.session_motion import LabelSmoothing


def person(identity: int = 0, **labels: float) -> PersonLabels:
    """Someone whose groups have one value each."""
    return PersonLabels(identity, 1.0, {name: np.full(4, value, np.float32) for name, value in labels.items()})


def test_groups_fade_once_they_are_not_seen() -> None:
    fading = LabelSmoothing()
    seen = person(torso=1.0, eyes=2.0)
    assert fading.faded(seen, 10.0) is seen
    shown = [fading.faded(person(torso=1.0), 10.0 + age_s).labels for age_s in (0.05, 0.1, 0.15, 0.21, 0.25)]
    assert [labels["eyes"][0] for labels in shown[:3]] == pytest.approx([1.5, 1.0, 0.5], abs=1e-5)
    assert all(set(labels) == {"torso"} for labels in shown[3:])


def test_late_frames_change_nothing() -> None:
    fading = LabelSmoothing()
    fading.faded(person(eyes=2.0), 10.0)
    assert fading.faded(person(torso=1.0), 9.9).labels.keys() == {"torso"}
    assert fading.faded(person(torso=1.0), 10.1).labels["eyes"][0] == pytest.approx(1.0, abs=1e-5)
