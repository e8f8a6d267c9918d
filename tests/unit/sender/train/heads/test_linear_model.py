"""The linear model of landmarks, on faces that one makes."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.random import Generator

from common.arrays import Float64Array
from sender.train.heads.linear_model import at_rest, effects_of, errors_of_looks, people_of, reading_of
from sender.train.heads.space import HeadSpace

AXES, ACTIONS, ENTRIES, SIZE, NOISE = 6, 52, 4, 40, 0.3


@dataclass(frozen=True)
class World:
    """What axes, shape and actions do to components."""

    axes: Float64Array
    shape: Float64Array
    actions: Float64Array

    @property
    def errors(self) -> Float64Array:
        return NOISE**2 * np.eye(SIZE)


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(3)


@pytest.fixture
def world(rng: Generator) -> World:
    return World(*(rng.normal(0, 1, (count, SIZE)) for count in (AXES, 10, ACTIONS)))


def test_what_each_does_is_found(rng: Generator, world: World) -> None:
    coefficients, shape, acted = rng.normal(0, 0.45, (4000, AXES)), rng.normal(0, 1, (4000, 10)), acts(rng, 4000)
    z = 5 + coefficients @ world.axes + shape @ world.shape + acted @ world.actions
    z += rng.normal(0, NOISE, z.shape)
    given = [each.astype(np.float32) for each in (coefficients, shape, acted)]
    found = effects_of(given[0], given[1], given[2], z)
    np.testing.assert_allclose(found.axes, world.axes, atol=0.06)
    np.testing.assert_allclose(found.shape, world.shape, atol=0.03)
    np.testing.assert_allclose(found.constant, 5, atol=0.1)
    np.testing.assert_allclose(found.errors, world.errors, atol=0.02)


@pytest.mark.slow
def test_what_actions_do_is_taken_off(rng: Generator, world: World) -> None:
    acted, neutral = acts(rng, 60), rng.normal(0, 1, SIZE)
    z = neutral + acted @ world.actions + rng.normal(0, NOISE, (60, SIZE))
    rest = at_rest(z, world.actions, np.full(ACTIONS, 0.2), world.errors)
    assert np.linalg.norm(rest - neutral, axis=1).mean() < 0.5 * np.linalg.norm(z - neutral, axis=1).mean()


def test_people_differ_along_the_axes_along_which_they_do(rng: Generator, world: World) -> None:
    spreads = np.array([1.0, 1.0, 1.0, 0.05, 0.05, 0.05])
    rest = rng.normal(0, spreads, (1000, AXES)) @ world.axes + rng.normal(0, NOISE, (1000, SIZE))
    spread, remains = people_of(rest, world.axes, world.errors)
    found = np.sqrt(np.diag(spread))
    np.testing.assert_allclose(found[:3], 1.0, atol=0.15)
    assert (found[3:] < 0.2).all()
    # Errors are as large as those of rendered heads and what is added to be safe.
    assert np.trace(world.errors) < np.trace(remains) < 2 * np.trace(world.errors) + 0.1 * np.trace(np.cov(rest.T))


def test_a_head_is_told_from_some_looks_and_from_more_better(rng: Generator, world: World) -> None:
    by_head, mean, who = world.axes[:ENTRIES], rng.normal(0, 1, SIZE), np.repeat(np.arange(200), 8)
    entries, shape = rng.normal(0, 1, (200, ENTRIES)), rng.normal(0, 1, (200, 10))
    rest = (mean + entries @ by_head + shape @ world.shape)[who] + rng.normal(0, NOISE, (len(who), SIZE))
    looks = errors_of_looks(rest, who, np.ones(len(who), np.bool_))
    np.testing.assert_allclose(looks, world.errors, atol=0.03)
    space = HeadSpace(np.zeros((0, 3)), np.zeros((0, ENTRIES, 3)), by_head, np.zeros((0, SIZE)))
    reading = reading_of(mean, world.shape, space, looks + 0.01 * np.eye(SIZE), looks)
    errors = {}
    for count in (1, 8):
        means = rest.reshape(200, 8, SIZE)[:, :count].mean(axis=1) @ reading.whitening
        found = [reading.entries(row.astype(np.float32), count, own) for row, own in zip(means, shape, strict=True)]
        errors[count] = float(np.abs(np.stack(found) - entries).mean())
    assert errors[8] < 0.7 * errors[1] < 0.1


def acts(rng: Generator, count: int) -> Float64Array:
    """(N, 52) of which a tenth acts."""
    return np.asarray(rng.uniform(0, 1, (count, ACTIONS)) * (rng.uniform(0, 1, (count, ACTIONS)) < 0.1))
