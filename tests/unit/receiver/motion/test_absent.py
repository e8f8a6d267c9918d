"""People whom the sender loses for a moment: how long they stay, how they move, and how they return."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters
from common.frames import LabelFrame
from common.labels import concatenate, group_slices
from common.motion.label_track import Continued
from common.motion.steps import place_of
from receiver.motion.session_motion import PersonTrack, with_absent
from tests.support.motion.label_motion import frame_of, person

ROOT = group_slices()["root"]


def at(space: LabelSpace, x_m: float) -> FloatArray:
    """Labels of somebody who stands 3 m before the camera, and so far to the right."""
    with torch.inference_mode():
        body = BodyParameters.rest(1)
        place = torch.tensor([[x_m, 0.0, 3.0]])
        return np.asarray(space.encode(replace(body, translation=place))[0].numpy(), np.float32)


def walk(space: LabelSpace, frames: int, speed_m_s: float = 0.6) -> list[LabelFrame]:
    """Somebody who walks to the right."""
    return [frame_of(number, person(at(space, -0.6 + speed_m_s * number / 30))) for number in range(frames)]


def without(frames: list[LabelFrame], first: int, last: int) -> list[LabelFrame]:
    """Nobody in some frames."""
    return [replace(each, people=()) if first <= each.sequence < last else each for each in frames]


def shown(frames: list[LabelFrame]) -> list[LabelFrame]:
    tracks = defaultdict[int, PersonTrack](lambda: PersonTrack(0.0))
    return [with_absent(frame, tracks, Continued()) for frame in frames]


def places(frames: list[LabelFrame]) -> Float64Array:
    return np.stack([place_of(concatenate(frame.people[0].labels)) for frame in frames])


def test_frames_with_everybody_stay_as_they_are(space: LabelSpace) -> None:
    given = walk(space, 20)
    assert [frame.people for frame in shown(given)] == [frame.people for frame in given]


def test_who_is_lost_goes_on_and_returns_without_a_jump(space: LabelSpace) -> None:
    given = walk(space, 90)
    after = shown(without(given, 40, 60))
    assert all(len(frame.people) == 1 for frame in after)
    steps = np.linalg.norm(np.diff(places(after), axis=0), axis=1)
    assert steps.max() < 0.07, "metres a frame; a jump would be 0.3 m"
    assert steps[40] > 0.3 * 0.6 / 30 > steps[57], "motion goes on, ever slower"
    assert np.allclose(places(after)[-1], places(given)[-1], atol=1e-6)


def test_less_and_less_is_known_of_who_is_lost(space: LabelSpace) -> None:
    given = [
        replace(each, people=(replace(each.people[0], confidence={"torso": 0.8}),)) for each in walk(space, 60, 0.0)
    ]
    people = [frame.people[0] for frame in shown(without(given, 40, 60))]
    known = np.array([[each.score, each.confidence["torso"]] for each in people[39:]])
    assert np.allclose(known[0], [0.9, 0.8]) and (np.diff(known, axis=0) < 0).all() and (known > 0).all()


def test_who_stays_away_is_gone_after_a_second(space: LabelSpace) -> None:
    counts = [len(frame.people) for frame in shown(without(walk(space, 120, 0.0), 60, 120))]
    assert all(counts[:88]) and not any(counts[91:])


def test_who_was_seen_for_a_moment_is_gone_after_one(space: LabelSpace) -> None:
    counts = [len(frame.people) for frame in shown(without(walk(space, 40, 0.0), 4, 40))]
    assert counts[5] == 1 and not any(counts[8:])


def test_who_leaves_the_picture_is_gone_at_once(space: LabelSpace) -> None:
    border = frame_of(0).camera.width / 2 / frame_of(0).camera.focal_px * 3
    given = [frame_of(n, person(at(space, border - 0.03 * (40 - n)))) for n in range(40)]
    assert [len(frame.people) for frame in shown(without([*given, *given[-1:]], 39, 41))][-2:] == [0, 0]


def test_who_returns_elsewhere_is_there_at_once(space: LabelSpace) -> None:
    there = at(space, -0.9)
    there[ROOT.start + 8] += 1.5
    given = [frame_of(n, person(at(space, 0.6) if n < 40 else there)) for n in range(60)]
    assert np.allclose(places(shown(without(given, 40, 50)))[50], place_of(there), atol=1e-6)


def test_who_is_there_under_another_identity_is_there_once(space: LabelSpace) -> None:
    labels, behind = at(space, 0.0), at(space, 0.0)
    behind[ROOT.start + 8] += 1.0
    first = [frame_of(n, person(labels, 0)) for n in range(40)]
    for other, people in ((labels, 1), (behind, 2)):
        after = [frame_of(n, person(other, 1)) for n in range(40, 45)]
        assert [len(frame.people) for frame in shown([*first, *after])][40:] == [people] * 5


@pytest.mark.parametrize("people", [32])
def test_frames_have_no_more_people_than_are_allowed(space: LabelSpace, people: int) -> None:
    labels = at(space, 0.0)
    first = [frame_of(n, *(person(labels, who) for who in range(people))) for n in range(20)]
    other = frame_of(20, *(person(labels, 100 + who) for who in range(people)))
    assert len(shown([*first, other])[-1].people) == people
