import numpy as np
import pytest
import torch

from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.frames import PersonLabels
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.decode.stage import DecodeStage
from receiver.diffusion import displacement_cache
from receiver.diffusion.displacement_cache import DisplacementCache
from receiver.diffusion.stage import DiffusionStage
from receiver.outfits.guidance import Guidance
from receiver.outfits.mixture import PLAIN


class CountingStage(DiffusionStage):
    """Counts the people who are sampled."""

    sampled = 0

    def displacements(self, decoded, identities):  # type: ignore[no-untyped-def]
        self.sampled += len(identities)
        return super().displacements(decoded, identities)


@pytest.fixture(scope="module")
def decode() -> DecodeStage:
    return DecodeStage.load()


@pytest.fixture(scope="module")
def outfits() -> Guidance:
    return Guidance.load(BodyTemplate.from_model(BodyModel.load()), SurfaceSpace.load())


@pytest.fixture
def stage() -> CountingStage:
    return CountingStage.load()


def person(
    identity: int = 0, surface: float = 0.5, arm: float = 0.0, entries: int = SURFACE_SIZE, confidence: float = 1.0
) -> PersonLabels:
    labels = {
        "surface": np.full(entries, surface, np.float32),
        "shape": np.zeros(10, np.float32),
        "left_arm": np.full(9, arm, np.float32),
    }
    return PersonLabels(identity, 1.0, labels, confidence={"surface": confidence})


def test_a_person_is_sampled_once_whatever_the_pose(
    decode: DecodeStage, stage: CountingStage, outfits: Guidance
) -> None:
    worn = DisplacementCache(decode, stage, outfits)
    first, moved = worn.displacement(person()), worn.displacement(person(arm=1.0))
    assert torch.equal(first, moved) and stage.sampled == 1


@pytest.mark.parametrize("other", [person(surface=-0.5), person(identity=3)])
def test_other_clothes_are_sampled_at_once(
    decode: DecodeStage, stage: CountingStage, outfits: Guidance, other: PersonLabels
) -> None:
    worn = DisplacementCache(decode, stage, outfits)
    assert not torch.equal(worn.displacement(person()), worn.displacement(other)) and stage.sampled == 2


def test_people_without_labels_wear_something(decode: DecodeStage, stage: CountingStage, outfits: Guidance) -> None:
    field = DisplacementCache(decode, stage, outfits).displacement(PersonLabels(0, 1.0, {}))
    assert torch.isfinite(field).all() and float(field.norm(dim=-1).mean()) > 0.002


def test_what_was_forgotten_is_sampled_to_the_same(
    decode: DecodeStage, stage: CountingStage, outfits: Guidance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(displacement_cache, "_REMEMBERED", 2)
    worn = DisplacementCache(decode, stage, outfits)
    first = worn.displacement(person())
    for value in (1.0, 2.0):
        worn.displacement(person(surface=value))
    assert torch.equal(worn.displacement(person()), first) and stage.sampled == 4


def test_too_many_entries_are_refused(decode: DecodeStage, stage: CountingStage, outfits: Guidance) -> None:
    with pytest.raises(ValueError, match="surface"):
        DisplacementCache(decode, stage, outfits).displacement(person(entries=SURFACE_SIZE + 1))


@pytest.mark.parametrize("unsure", [person(confidence=0.4), person(entries=23), person(entries=4)])
def test_clothes_that_are_not_sure_are_generated(
    decode: DecodeStage, stage: CountingStage, outfits: Guidance, unsure: PersonLabels
) -> None:
    worn = DisplacementCache(decode, stage, outfits)
    assert not torch.equal(worn.displacement(unsure), worn.displacement(person())) and stage.sampled == 1


def test_the_kinds_that_are_known_count(decode: DecodeStage, stage: CountingStage, outfits: Guidance) -> None:
    worn = DisplacementCache(decode, stage, outfits)
    shares = np.zeros(6, np.float32)
    shares[VALUES["bottom"].index("skirt_long")] = 1
    skirt = Wears({**PLAIN.posterior, "bottom": shares})
    unsure = person(confidence=0)
    assert float((worn.displacement(unsure, skirt) - worn.displacement(unsure)).norm(dim=-1).max()) > 0.05
