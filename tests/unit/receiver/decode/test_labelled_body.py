import itertools

import numpy as np
import pytest
import torch

from common.body.label_space import LabelSpace
from common.frames import PersonLabels
from common.labels import GROUP_BY_NAME, GROUP_NAMES, LABEL_SIZE
from receiver.decode.labelled_body import read_labels


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load()


def person(*names: str, size: int | None = None) -> PersonLabels:
    random = np.random.default_rng(0)
    drawn = {name: random.normal(size=group.size).astype(np.float32) for name, group in GROUP_BY_NAME.items()}
    return PersonLabels(identity=0, score=1.0, labels={name: drawn[name][:size] for name in names})


def test_any_two_groups_are_a_valid_body(space: LabelSpace) -> None:
    people = [person(*names) for names in itertools.combinations(GROUP_NAMES, 2)] + [person()]
    rotations = read_labels(people, space).parameters.rotations
    assert len(rotations) == len(people)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), rtol=0, atol=1e-4)


def test_what_is_missing_of_a_prefix_is_the_mean(space: LabelSpace) -> None:
    short, long = person("torso", size=3), person("torso")
    whole = np.zeros_like(long.labels["torso"])
    whole[:3] = long.labels["torso"][:3]
    padded = PersonLabels(identity=0, score=1.0, labels={"torso": whole})
    bodies = [read_labels([each], space).parameters.rotations for each in (short, padded)]
    assert torch.equal(*bodies)


def test_coloured_marks_people_with_appearance(space: LabelSpace) -> None:
    assert read_labels([person("appearance", size=4), person("head")], space).coloured.tolist() == [True, False]


def test_groups_that_are_too_long_are_rejected(space: LabelSpace) -> None:
    labels = {"head": np.zeros(LABEL_SIZE, dtype=np.float32)}
    with pytest.raises(ValueError, match="head"):
        read_labels([PersonLabels(identity=0, score=1.0, labels=labels)], space)
