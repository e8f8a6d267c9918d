from collections.abc import Iterator

import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.labels import LABEL_SIZE, group_slices
from sender.train.importance import Displacement, measure_groups, sample_bodies

PEOPLE = 2


@pytest.fixture(scope="module")
def displacement() -> Iterator[Displacement]:
    space = LabelSpace.load()
    yield Displacement(BodyModel.load(), space, SurfaceSpace.load(), space.encode(sample_bodies(PEOPLE, seed=1)))


def change_of(name: str, entry: int, sigma: float) -> torch.Tensor:
    change = torch.zeros(LABEL_SIZE)
    change[group_slices()[name].start + entry] = sigma
    return change


def test_displacement_is_proportional_to_small_changes(displacement: Displacement) -> None:
    still, small, large = (displacement.mm(change_of("left_leg", 0, sigma)) for sigma in (0.0, 0.05, 0.1))
    assert still == 0.0 and small > 0.5
    assert large == pytest.approx(2 * small, rel=0.05)
    assert displacement.mm(change_of("surface", 0, 0.5)) > 0.5, "clothes move the surface"


def test_sideways_translation_displaces_every_point_equally(displacement: Displacement) -> None:
    # x/z has a standard deviation of 0.25; a tenth of it at the people's mean depth.
    depth = sample_bodies(PEOPLE, seed=1).translation[:, 2].mean().item()
    assert displacement.mm(change_of("root", 6, 0.1)) == pytest.approx(0.1 * 0.25 * depth * 1000, rel=1e-3)


def test_group_is_measured_with_its_own_steps(displacement: Displacement) -> None:
    steps = torch.zeros(LABEL_SIZE)
    steps[group_slices()["torso"]] = 0.05
    omega = measure_groups(displacement, steps.double().numpy(), PEOPLE, seed=1)
    assert omega["torso"] > 0.5
    assert omega["root"] == omega["head"] == omega["appearance"] == 0.0
