"""Body parameters as numbers, and their codes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.labels import LABEL_SIZE
from common.training.label_sequences import label_sequences
from tests.bench.rivals.parameter_coders import (
    Coder,
    PlainCoder,
    RangeCoder,
    StaticTables,
    ZstdCoder,
    least_squares_taps,
    training_clips,
)
from tests.bench.rivals.parameters import (
    FAST_SIZE,
    JOINTS,
    SLOW_SIZES,
    Numbers,
    fast_steps,
    fast_vectors,
    quantised,
    received,
    slow_step,
    unwrapped,
)


@pytest.fixture(scope="module")
def labels() -> FloatArray:
    rows, clip = label_sequences("test", 5)
    return np.asarray(rows[clip == 1][:40])


@pytest.fixture(scope="module")
def tables() -> dict[int, StaticTables]:
    clips = training_clips()
    return {order: StaticTables.fit(clips, 10, order) for order in (1, 2)}


def numbers(labels: FloatArray, bits: int) -> list[Numbers]:
    parameters = LabelSpace.load().decode(torch.from_numpy(labels))
    return quantised(labels, unwrapped(fast_vectors(parameters)), bits)


def sizes_through(make: Callable[[], Coder], frames: list[Numbers]) -> list[int]:
    """Sizes of the frames, each of which is checked to come back."""
    encoder, decoder = make(), make()
    sizes = []
    for frame in frames:
        data = encoder.encode(frame)
        assert decoder.decode(data).same(frame)
        sizes.append(len(data))
    return sizes


def test_plain_numbers_take_their_bits(labels: FloatArray) -> None:
    parameters = LabelSpace.load().decode(torch.from_numpy(labels))
    frames = quantised(labels, fast_vectors(parameters), 10)
    sizes = sizes_through(lambda: PlainCoder(10), frames)
    assert sizes[0] == 1 + -(-10 * (FAST_SIZE + sum(SLOW_SIZES.values())) // 8)
    assert min(sizes) == 1 + -(-10 * FAST_SIZE // 8)


def test_every_code_returns_the_numbers_and_prediction_saves_bytes(
    labels: FloatArray, tables: dict[int, StaticTables]
) -> None:
    frames = numbers(labels, 10)
    zstd = sum(sizes_through(ZstdCoder, frames))
    delta = sum(sizes_through(lambda: RangeCoder(tables[1]), frames))
    linear = sum(sizes_through(lambda: RangeCoder(tables[2]), frames))
    plain = len(frames) * FAST_SIZE * 10 // 8
    assert max(delta, linear) < zstd < plain


def test_extreme_numbers_come_back(tables: dict[int, StaticTables]) -> None:
    rng = np.random.default_rng(0)
    frames = [
        Numbers(
            rng.integers(-3000, 3000, FAST_SIZE),
            {name: rng.integers(-500, 500, size) for name, size in SLOW_SIZES.items() if number % 2},
        )
        for number in range(6)
    ]
    for make in (ZstdCoder, lambda: RangeCoder(tables[1]), lambda: RangeCoder(tables[2])):
        sizes_through(make, frames)


def test_received_bodies_are_exact_to_a_step(labels: FloatArray) -> None:
    parameters = LabelSpace.load().decode(torch.from_numpy(labels))
    found = received(numbers(labels, 12), 12)
    assert (found.translation - parameters.translation).abs().max() <= 0.51 * fast_steps(12)[-1]
    assert (found.rotations - parameters.rotations).abs().max() < 2 * fast_steps(12)[0]
    assert (found.shape[0] - parameters.shape[0]).abs().max() <= 0.51 * slow_step(12)


def test_unwrapped_turn_has_no_jump() -> None:
    angles = np.linspace(0, 4 * np.pi, 60)
    wrapped = np.zeros((60, FAST_SIZE))
    wrapped[:, 1] = (angles + np.pi) % (2 * np.pi) - np.pi
    wrapped[:, 3 * JOINTS] = 5.0
    continuous = unwrapped(wrapped)
    assert np.abs(np.diff(continuous, axis=0)).max() < 0.3
    np.testing.assert_allclose(continuous[:, 3 * JOINTS], 5.0)
    turns = (continuous[:, 1] - wrapped[:, 1]) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)


def test_taps_of_steady_motion_extrapolate() -> None:
    line = np.stack([np.arange(30.0), np.arange(30.0) + 7], 1)
    assert least_squares_taps([line])[:, 0] == pytest.approx([2.0, -1.0])


def test_still_slow_numbers_are_sent_once() -> None:
    still = np.repeat(np.random.default_rng(0).normal(size=(1, LABEL_SIZE)), 20, axis=0).astype(np.float32)
    assert [sorted(frame.slow) for frame in numbers(still, 8)] == [sorted(SLOW_SIZES)] + 19 * [[]]


def test_change_beyond_16_bits_arrives_with_the_next_frame() -> None:
    encoder, decoder = ZstdCoder(), ZstdCoder()
    jump = Numbers(np.full(FAST_SIZE, 50_000, np.int64), {})
    assert np.array_equal(decoder.decode(encoder.encode(jump)).fast, np.full(FAST_SIZE, 32_767))
    assert decoder.decode(encoder.encode(jump)).same(jump)
