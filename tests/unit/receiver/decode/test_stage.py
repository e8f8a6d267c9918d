import itertools

import numpy as np
import pytest
import torch

from common.body.label_space import LabelSpace
from common.frames import PersonLabels
from common.labels import GROUP_BY_NAME, GROUP_NAMES, LABEL_SIZE, group_slices
from receiver.decode.network import DecodeNetwork
from receiver.decode.stage import DecodeStage, arrived_vectors
from tests.unit.receiver.decode.test_network import TINY


@pytest.fixture(scope="module")
def stage() -> DecodeStage:
    torch.manual_seed(0)
    return DecodeStage(DecodeNetwork(TINY, torch.arange(2048)), LabelSpace.load())


def person(*names: str, size: int | None = None) -> PersonLabels:
    random = np.random.default_rng(0)
    drawn = {name: random.normal(size=group.size).astype(np.float32) for name, group in GROUP_BY_NAME.items()}
    return PersonLabels(identity=0, score=1.0, labels={name: drawn[name][:size] for name in names})


def test_arrived_vectors_mask_prefixes() -> None:
    labels, present = arrived_vectors([person("torso", size=3)])
    torso = group_slices()["torso"]
    assert present.sum() == 3
    assert present[0, torso.start : torso.start + 3].all()
    assert (labels[present == 0] == 0).all()


def test_any_two_groups_decode_to_a_valid_body(stage: DecodeStage) -> None:
    people = [person(*names) for names in itertools.combinations(GROUP_NAMES, 2)] + [person()]
    decoded = stage.decode(people)
    assert len(decoded) == len(people)
    assert all(s.isfinite().all() for s in decoded.s_levels)
    rotations = stage.read(people).parameters.rotations
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), rtol=0, atol=1e-4)


def test_decode_is_deterministic_and_independent_of_the_batch(stage: DecodeStage) -> None:
    alone, batched = stage.decode([person(*GROUP_NAMES)]), stage.decode([person(*GROUP_NAMES), person("head")])
    torch.testing.assert_close(alone.s_levels[2][0], batched.s_levels[2][0])
    assert torch.equal(alone.z_prime, stage.decode([person(*GROUP_NAMES)]).z_prime)


def test_decode_with_a_generator_samples(stage: DecodeStage) -> None:
    draws = [stage.decode([person()], torch.Generator().manual_seed(seed)).z_prime for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_coloured_marks_people_with_appearance(stage: DecodeStage) -> None:
    labelled = stage.read([person("appearance", size=4), person("head")])
    assert labelled.coloured.tolist() == [True, False]


def test_decode_without_people_is_rejected(stage: DecodeStage) -> None:
    for method in (stage.decode, stage.read):
        with pytest.raises(ValueError, match="at least one person"):
            method([])


def test_group_that_is_too_long_is_rejected(stage: DecodeStage) -> None:
    labels = {"head": np.zeros(LABEL_SIZE, dtype=np.float32)}
    with pytest.raises(ValueError, match="head"):
        stage.decode([PersonLabels(identity=0, score=1.0, labels=labels)])
