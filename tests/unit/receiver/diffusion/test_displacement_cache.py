import numpy as np
import pytest
import torch

from common.body.surface_space import SURFACE_SIZE
from common.frames import PersonLabels
from receiver.decode.stage import DecodeStage
from receiver.diffusion import displacement_cache
from receiver.diffusion.displacement_cache import DisplacementCache
from receiver.diffusion.stage import DiffusionStage


class CountingStage(DiffusionStage):
    """Counts the people who are sampled."""

    sampled = 0

    def displacements(self, decoded, identities):  # type: ignore[no-untyped-def]
        self.sampled += len(identities)
        return super().displacements(decoded, identities)


@pytest.fixture(scope="module")
def decode() -> DecodeStage:
    return DecodeStage.load()


@pytest.fixture
def stage() -> CountingStage:
    return CountingStage.load()


def person(identity: int = 0, surface: float = 0.5, arm: float = 0.0, entries: int = SURFACE_SIZE) -> PersonLabels:
    labels = {
        "surface": np.full(entries, surface, np.float32),
        "shape": np.zeros(10, np.float32),
        "left_arm": np.full(9, arm, np.float32),
    }
    return PersonLabels(identity, 1.0, labels)


def test_a_person_is_sampled_once_whatever_the_pose(decode: DecodeStage, stage: CountingStage) -> None:
    worn = DisplacementCache(decode, stage)
    first, moved = worn.displacement(person()), worn.displacement(person(arm=1.0))
    assert torch.equal(first, moved) and stage.sampled == 1


@pytest.mark.parametrize("other", [person(surface=-0.5), person(identity=3, entries=4), person(entries=23)])
def test_other_clothes_are_sampled_at_once(decode: DecodeStage, stage: CountingStage, other: PersonLabels) -> None:
    worn = DisplacementCache(decode, stage)
    assert not torch.equal(worn.displacement(person()), worn.displacement(other)) and stage.sampled == 2


def test_people_without_labels_wear_something(decode: DecodeStage, stage: CountingStage) -> None:
    field = DisplacementCache(decode, stage).displacement(PersonLabels(0, 1.0, {}))
    assert torch.isfinite(field).all() and float(field.norm(dim=-1).mean()) > 0.002


def test_what_was_forgotten_is_sampled_to_the_same(
    decode: DecodeStage, stage: CountingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(displacement_cache, "_REMEMBERED", 2)
    worn = DisplacementCache(decode, stage)
    first = worn.displacement(person())
    for value in (1.0, 2.0):
        worn.displacement(person(surface=value))
    assert torch.equal(worn.displacement(person()), first) and stage.sampled == 4


def test_too_many_entries_are_refused(decode: DecodeStage, stage: CountingStage) -> None:
    with pytest.raises(ValueError, match="surface"):
        DisplacementCache(decode, stage).displacement(person(entries=SURFACE_SIZE + 1))
