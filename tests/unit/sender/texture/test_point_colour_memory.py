"""What is learnt is the person, all of it that was shown and nothing beside it; what is told settles to silence."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import Image
from common.body.model import BodyModel
from common.synthetic.assets.appearance import Appearance
from common.synthetic.renderer.renderer import Renderer
from sender.texture.observation import Observation
from sender.texture.point_colour_memory import PointColourMemory
from tests.support.synthetic_observation import CAMERA, COARSE, CROP, FINE, Pictured, pictured

GREEN, RED = (0, 200, 0), (200, 30, 0)
RESAMPLED = 4
"""What cutting a picture to another size may put off, 0…255."""


@pytest.fixture(scope="module")
def front(renderer: Renderer, model: BodyModel, appearance: Appearance) -> Pictured:
    return pictured(renderer, model, appearance)


@pytest.fixture(scope="module")
def back(renderer: Renderer, model: BodyModel, appearance: Appearance) -> Pictured:
    return pictured(renderer, model, appearance, np.pi)


@pytest.fixture
def memory(model: BodyModel) -> PointColourMemory:
    return PointColourMemory(model.point_regions().numpy())


def painted(picture: Pictured, colour: tuple[int, int, int]) -> Pictured:
    """The person in one colour, on the background that it stands before."""
    return replace(picture, image=np.where(picture.part[..., None] > 0, colour, picture.image).astype(np.uint8))


def look(memory: PointColourMemory, picture: Pictured, image: Image | None = None, cells: int = COARSE) -> None:
    observation = Observation.of(picture.image if image is None else image, CROP, picture.observed(cells=cells).output)
    memory.see(observation, picture.points, picture.normals, CAMERA)


def off_green(memory: PointColourMemory) -> np.ndarray:
    off: np.ndarray = np.abs(memory.colours[memory.seen].astype(int) - GREEN).max(axis=1)
    return off


def test_the_background_never_bleeds_in(memory: PointColourMemory, front: Pictured, back: Pictured) -> None:
    for picture in (front, front, front, back, back, back):
        look(memory, painted(picture, GREEN), cells=FINE)
    assert memory.seen.mean() > 0.3
    assert off_green(memory).max() <= RESAMPLED


def test_the_background_hardly_bleeds_in_through_a_coarse_mask(
    memory: PointColourMemory, front: Pictured, back: Pictured
) -> None:
    for picture in (front, front, front, back, back, back):
        look(memory, painted(picture, GREEN))
    assert memory.seen.mean() > 0.3
    assert off_green(memory).mean() < 0.5 and (off_green(memory) > 10).mean() < 0.01


def test_a_point_that_falls_on_the_background_takes_nothing_from_it(memory: PointColourMemory, front: Pictured) -> None:
    observation = Observation.of(painted(front, GREEN).image, CROP, front.observed(cells=FINE).output)
    beside = front.points + np.array([0.12, 0, 0], np.float32)
    memory.see(observation, beside, front.normals, CAMERA)
    assert off_green(memory).max() <= RESAMPLED


def test_the_front_does_not_colour_the_back(memory: PointColourMemory, front: Pictured, back: Pictured) -> None:
    for _ in range(10):
        look(memory, painted(front, GREEN), cells=FINE)
    assert not (memory.seen & (front.normals[:, 2] > 0)).any()
    for _ in range(10):
        look(memory, painted(back, RED), cells=FINE)
    facing, turned = front.normals[:, 2] < -0.5, front.normals[:, 2] > 0.5
    assert np.abs(memory.colours[memory.seen & facing].astype(int) - GREEN).max() <= RESAMPLED
    assert np.abs(memory.colours[memory.seen & turned].astype(int) - RED).max() <= RESAMPLED


def test_what_is_not_in_sight_stays_unknown(memory: PointColourMemory, front: Pictured) -> None:
    behind = front.points * np.array([1, 1, -1], np.float32)
    observation = Observation.of(front.image, CROP, front.observed().output)
    memory.see(observation, behind, front.normals, CAMERA)
    assert not memory.seen.any() and not memory.colours.any() and memory.pending_update.share == 0


def test_noise_averages_out(memory: PointColourMemory, front: Pictured) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        noisy = painted(front, (100, 120, 140)).image + rng.normal(0, 25, front.image.shape)
        look(memory, front, np.clip(noisy, 0, 255).astype(np.uint8))
    assert np.abs(memory.colours[memory.seen].astype(int) - (100, 120, 140)).mean() < 3


def test_a_coat_that_comes_off_is_learnt_anew(memory: PointColourMemory, front: Pictured) -> None:
    for _ in range(100):
        look(memory, painted(front, GREEN))
    memory.take()
    for _ in range(80):
        look(memory, painted(front, RED))
    assert memory.pending_update.changed > 0.25 and memory.pending_update.colour_change > 80
    assert np.abs(memory.colours[memory.seen].astype(int) - RED).mean() < 20


def test_take_leaves_no_news(memory: PointColourMemory, front: Pictured, back: Pictured) -> None:
    look(memory, front)
    assert memory.pending_update.newly_seen == pytest.approx(memory.seen.mean())
    colours, seen = memory.take()
    np.testing.assert_array_equal(seen, memory.seen)
    np.testing.assert_array_equal(colours, memory.colours)
    assert memory.pending_update.share == 0 and memory.pending_update.colour_change == 0
    look(memory, back)
    assert memory.pending_update.newly_seen == pytest.approx((memory.seen & ~seen).mean())


def sendings(memory: PointColourMemory, picture: Pictured, looks: int, seed: int = 0) -> list[int]:
    """Which of so many looks at somebody who stands there led to a sending."""
    rng, sent = np.random.default_rng(seed), []
    for number in range(looks):
        noisy = np.clip(picture.image + rng.normal(0, 12, picture.image.shape), 0, 255).astype(np.uint8)
        trembling = replace(picture, points=picture.points + rng.normal(0, 0.01, 3).astype(np.float32))
        look(memory, trembling, noisy)
        if memory.worth_sending:
            memory.take()
            sent.append(number)
    return sent


def test_who_stands_there_is_soon_told_of_and_then_no_more(memory: PointColourMemory, front: Pictured) -> None:
    sent = sendings(memory, front, 200)
    assert 1 <= len(sent) <= 4
    assert sent[0] <= 3 and sent[-1] < 120


def test_who_turns_round_is_told_of_again(memory: PointColourMemory, front: Pictured, back: Pictured) -> None:
    sendings(memory, front, 60)
    assert 1 <= len(sendings(memory, back, 60)) <= 3


def test_the_longer_somebody_is_known_the_longer_a_telling_waits(memory: PointColourMemory, front: Pictured) -> None:
    """Somebody who changes all the time is told of ever more rarely."""
    sent = 0
    for number in range(400):
        look(memory, painted(front, GREEN if number // 20 % 2 else RED))
        if memory.worth_sending:
            memory.take()
            sent += 1
    assert sent <= 8
