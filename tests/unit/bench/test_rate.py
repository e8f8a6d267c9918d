"""The rival of raw numbers in the rate bench."""

from dataclasses import replace

import numpy as np
import pytest

from common.frames import PersonLabels
from common.labels import FAST_GROUPS, GROUP_BY_NAME, LABEL_SIZE, concatenate, split
from tests.bench.rate import LabelClip, Sent, raw, with_groups_lost

_FAST_SIZE = sum(GROUP_BY_NAME[name].size for name in FAST_GROUPS)


def _still(frames: int) -> list[PersonLabels]:
    labels = np.random.default_rng(0).normal(size=LABEL_SIZE).astype(np.float32)
    return [PersonLabels(0, 1.0, split(labels)) for _ in range(frames)]


def _with_shape_changed(person: PersonLabels, by: float) -> PersonLabels:
    return replace(person, labels={**person.labels, "shape": person.labels["shape"] + np.float32(by)})


def _send(people: list[PersonLabels], bits: int = 16, packed: bool = False) -> list[Sent]:
    return list(raw(LabelClip("test", tuple(people)), bits, packed))


def test_groups_are_lost_behind_the_first_frames() -> None:
    clip = LabelClip("test", tuple(_still(103)))
    lost = with_groups_lost(clip, 0.5, seed=1)
    assert lost.people[:3] == clip.people[:3]
    share = np.mean([len(person.labels) / len(GROUP_BY_NAME) for person in lost.people[3:]])
    assert 0.45 < share < 0.55


@pytest.mark.parametrize("bits", [8, 16])
def test_raw_sends_constant_slow_groups_once(bits: int) -> None:
    sizes = [sent.size for sent in _send(_still(20), bits)]
    assert sizes == [1 + LABEL_SIZE * bits // 8] + 19 * [1 + _FAST_SIZE * bits // 8]


def test_raw_labels_are_exact_to_half_a_step() -> None:
    (person,) = _still(1)
    (sent,) = _send([person], bits=8)
    assert np.abs(sent.labels - concatenate(person.labels)).max() <= 0.5 * 5.0 / 127 + 1e-6


def test_raw_resends_a_changed_slow_group_at_most_every_eight_frames() -> None:
    people = _still(20)
    people[3:] = [_with_shape_changed(person, 1.0) for person in people[3:]]
    people[10:] = [_with_shape_changed(person, 1.0) for person in people[10:]]
    sent = _send(people)
    large = [number for number, frame in enumerate(sent) if frame.size > 1 + 2 * _FAST_SIZE]
    assert large == [0, 8, 16]
    assert sent[8].size == 1 + 2 * (_FAST_SIZE + GROUP_BY_NAME["shape"].size)
    np.testing.assert_allclose(split(sent[7].labels)["shape"], people[0].labels["shape"], atol=1e-3)
    np.testing.assert_allclose(split(sent[19].labels)["shape"], people[19].labels["shape"], atol=1e-3)


def test_raw_keeps_a_slow_group_that_hardly_changes() -> None:
    people = _still(20)
    people[10:] = [_with_shape_changed(person, 0.05) for person in people[10:]]
    assert {sent.size for sent in _send(people, bits=8)[1:]} == {1 + _FAST_SIZE}


def test_raw_compressed_frames_hold_the_same_labels() -> None:
    people = _still(3)
    for plain, packed in zip(_send(people), _send(people, packed=True), strict=True):
        np.testing.assert_array_equal(plain.labels, packed.labels)
