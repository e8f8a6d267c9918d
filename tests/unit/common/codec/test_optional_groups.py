"""Faces and fingers, which only people near the camera have: absent at no cost, lost once, found again."""

from dataclasses import replace

import numpy as np

from common.frames import LabelFrame, PersonLabels
from common.labels import OPTIONAL_GROUPS, split
from tests.support.motion.label_motion import FINE_RHO, frame_of, moving_labels, person, transmit

MOTION = moving_labels(60, seed=40)


def near(t: int) -> PersonLabels:
    """With all groups."""
    return replace(person(MOTION[t]), labels=split(MOTION[t]))


def clip(*with_face: range) -> list[LabelFrame]:
    seen = {t for each in with_face for t in each}
    return [frame_of(t, near(t) if t in seen else person(MOTION[t])) for t in range(len(MOTION))]


def test_labels_come_while_they_are_there() -> None:
    for t, (_, decoded) in enumerate(transmit(clip(range(10, 30), range(45, 60)), FINE_RHO)):
        (got,) = decoded.frame.people
        has = 10 <= t < 30 or t >= 45
        assert {name in got.labels for name in OPTIONAL_GROUPS} == {has}, t
        assert all((got.confidence.get(name, 0.0) > 0) == has for name in OPTIONAL_GROUPS)
        if has:
            for name in OPTIONAL_GROUPS:
                assert np.abs(got.labels[name] - split(MOTION[t])[name]).max() < 1.1, (t, name)
