from dataclasses import replace

import numpy as np
import pytest

from common.arrays import Image
from common.body.model import BodyModel
from sender.texture.observation import Observation
from sender.texture.point_colour_memory import PointColourMemory
from tests.support.synthetic_observation import CAMERA, COARSE, CROP, FINE, RenderedPerson

GREEN, RED = (0, 200, 0), (200, 30, 0)
RESAMPLING_ERROR = 4
"""Largest error of resampling the image, 0…255."""


@pytest.fixture
def memory(model: BodyModel) -> PointColourMemory:
    return PointColourMemory(model.point_regions().numpy())


def painted(person: RenderedPerson, colour: tuple[int, int, int]) -> RenderedPerson:
    """The person in one colour, in front of the same background."""
    return replace(person, image=np.where(person.part[..., None] > 0, colour, person.image).astype(np.uint8))


def observe(memory: PointColourMemory, person: RenderedPerson, image: Image | None = None, cells: int = COARSE) -> None:
    observation = Observation.from_output(
        person.image if image is None else image, CROP, person.observed(cells=cells).output
    )
    memory.add(observation, person.points, person.normals, CAMERA)


def green_error(memory: PointColourMemory) -> np.ndarray:
    error: np.ndarray = np.abs(memory.colours[memory.seen].astype(int) - GREEN).max(axis=1)
    return error


def test_background_does_not_bleed_in(model: BodyModel, front: RenderedPerson, back: RenderedPerson) -> None:
    errors = []
    for cells in (FINE, COARSE):
        memory = PointColourMemory(model.point_regions().numpy())
        for person in (front, front, front, back, back, back):
            observe(memory, painted(person, GREEN), cells=cells)
        assert memory.seen.mean() > 0.3
        errors.append(green_error(memory))
    assert errors[0].max() <= RESAMPLING_ERROR
    assert errors[1].mean() < 0.5 and (errors[1] > 10).mean() < 0.01, "with the mask that perception gives, hardly"


def test_point_on_background_takes_no_colour(memory: PointColourMemory, front: RenderedPerson) -> None:
    observation = Observation.from_output(painted(front, GREEN).image, CROP, front.observed(cells=FINE).output)
    shifted = front.points + np.array([0.12, 0, 0], np.float32)
    memory.add(observation, shifted, front.normals, CAMERA)
    assert green_error(memory).max() <= RESAMPLING_ERROR


def test_front_does_not_colour_the_back(memory: PointColourMemory, front: RenderedPerson, back: RenderedPerson) -> None:
    for _ in range(10):
        observe(memory, painted(front, GREEN), cells=FINE)
    assert not (memory.seen & (front.normals[:, 2] > 0)).any()
    for _ in range(10):
        observe(memory, painted(back, RED), cells=FINE)
    facing, averted = front.normals[:, 2] < -0.5, front.normals[:, 2] > 0.5
    assert np.abs(memory.colours[memory.seen & facing].astype(int) - GREEN).max() <= RESAMPLING_ERROR
    assert np.abs(memory.colours[memory.seen & averted].astype(int) - RED).max() <= RESAMPLING_ERROR


def test_points_behind_camera_stay_unknown(memory: PointColourMemory, front: RenderedPerson) -> None:
    behind = front.points * np.array([1, 1, -1], np.float32)
    observation = Observation.from_output(front.image, CROP, front.observed().output)
    memory.add(observation, behind, front.normals, CAMERA)
    assert not memory.seen.any() and not memory.colours.any() and memory.pending_update.share == 0


def test_noise_is_averaged_out(memory: PointColourMemory, front: RenderedPerson) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        noisy = painted(front, (100, 120, 140)).image + rng.normal(0, 25, front.image.shape)
        observe(memory, front, np.clip(noisy, 0, 255).astype(np.uint8))
    assert np.abs(memory.colours[memory.seen].astype(int) - (100, 120, 140)).mean() < 3


def test_changed_clothing_is_learned(memory: PointColourMemory, front: RenderedPerson) -> None:
    for _ in range(100):
        observe(memory, painted(front, GREEN))
    memory.take()
    for _ in range(80):
        observe(memory, painted(front, RED))
    assert memory.pending_update.changed > 0.25 and memory.pending_update.colour_change > 80
    assert np.abs(memory.colours[memory.seen].astype(int) - RED).mean() < 20


def test_no_update_is_pending_after_take(
    memory: PointColourMemory, front: RenderedPerson, back: RenderedPerson
) -> None:
    observe(memory, front)
    assert memory.pending_update.newly_seen == pytest.approx(memory.seen.mean())
    colours, seen = memory.take()
    np.testing.assert_array_equal(seen, memory.seen)
    np.testing.assert_array_equal(colours, memory.colours)
    assert memory.pending_update.share == 0 and memory.pending_update.colour_change == 0
    observe(memory, back)
    assert memory.pending_update.newly_seen == pytest.approx((memory.seen & ~seen).mean())


def updates(memory: PointColourMemory, person: RenderedPerson, observations: int) -> list[int]:
    """The numbers of the observations of a still person, with noise and jitter, after which an update was sent."""
    rng, sent = np.random.default_rng(0), []
    for number in range(observations):
        noisy = np.clip(person.image + rng.normal(0, 12, person.image.shape), 0, 255).astype(np.uint8)
        jittering = replace(person, points=person.points + rng.normal(0, 0.01, 3).astype(np.float32))
        observe(memory, jittering, noisy)
        if memory.worth_sending:
            memory.take()
            sent.append(number)
    return sent


def test_updates_of_still_person_come_early_and_stop_until_they_turn(
    memory: PointColourMemory, front: RenderedPerson, back: RenderedPerson
) -> None:
    sent = updates(memory, front, 200)
    assert 1 <= len(sent) <= 4
    assert sent[0] <= 3 and sent[-1] < 120
    assert 1 <= len(updates(memory, back, 60)) <= 3


def test_interval_between_updates_grows(memory: PointColourMemory, front: RenderedPerson) -> None:
    sent = 0
    for number in range(400):
        observe(memory, painted(front, GREEN if number // 20 % 2 else RED))
        if memory.worth_sending:
            memory.take()
            sent += 1
    assert sent <= 8
