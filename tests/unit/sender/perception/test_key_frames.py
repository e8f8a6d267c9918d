"""Which frames are propagated from the one before: every other one, while a machine is too slow for all."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionConfig, PerceptionNet
from sender.perception.read import KeyFrames
from sender.perception.track import ObservedPerson, TrackedPerson

STEP_S = 1 / 30
TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
OUTPUT = PerceptionNet(TINY).eval()(torch.zeros(1, 3, 32, 32))
PERSON = ObservedPerson(TrackedPerson(1), 0.9, CropBox.around(np.array([0, 0, 10, 10], np.float32)), OUTPUT, "plain")


def follow(frames: KeyFrames, number: int, person: ObservedPerson = PERSON, step_s: float = STEP_S) -> bool:
    """Whether a frame is propagated."""
    known = frames.before([person.person], number * step_s)
    frames.keep([replace(each, is_propagated=True) for each in known] or [person], number * step_s)
    return bool(known)


def test_all_are_key_frames_until_one_is_late() -> None:
    frames = KeyFrames()
    assert not any(follow(frames, number) for number in range(10))
    frames.late(10 * STEP_S)
    assert [follow(frames, number) for number in range(10, 16)] == [True, False] * 3


def test_machine_that_is_fast_again_reads_every_frame_and_a_slow_one_is_tried_ever_more_rarely() -> None:
    frames, pauses = KeyFrames(), []
    now = 0
    for _ in range(3):
        frames.late(now * STEP_S)
        began = now
        while any([follow(frames, now := now + 1), follow(frames, now := now + 1)]):
            pass
        pauses.append((now - began) * STEP_S)
    assert pauses == pytest.approx([2, 4, 8], abs=4 * STEP_S)


@pytest.mark.parametrize(
    ("other", "step_s"),
    [(replace(PERSON, person=TrackedPerson(2)), STEP_S), (PERSON, 0.3), (replace(PERSON, view="both"), STEP_S)],
)
def test_new_people_long_pauses_and_both_views_are_not_propagated(other: ObservedPerson, step_s: float) -> None:
    frames = KeyFrames()
    follow(frames, 0, PERSON if other.view == "plain" else other)
    frames.late(0.0)
    assert not follow(frames, 1, other, step_s)
