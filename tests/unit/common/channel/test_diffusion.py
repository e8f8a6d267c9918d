"""The diffusion decoder: what its estimates depend on, and its step along the flow."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from common.channel.diffusion import (
    SOURCE_NOISE,
    completed,
    start,
)
from common.channel.model import Reconstruction
from common.channel.physical import carry
from common.channel.state import ChannelState
from common.channel.transmission import decode, encode
from tests.support.tiny_diffusion_decoder import tiny_decoder
from tests.support.tiny_image_channel import TINY, tiny_network

BATCH, SIDE = 2, 48


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain() -> Reconstruction:
    generator = seeded(1)
    grid = (BATCH, SIDE // 16, SIDE // 16)
    return Reconstruction(
        torch.rand(BATCH, 3, SIDE, SIDE, generator=generator),
        8 * torch.randn(BATCH, TINY.latents, *grid[1:], generator=generator),
        torch.full(grid, 7.0),
        torch.full(grid, 48),
    )


@torch.no_grad()
def estimate(state: Reconstruction, between: Tensor, time: float) -> Tensor:
    found: Tensor = tiny_decoder()(between, state.pictures, state, torch.full((BATCH,), time))
    return found


def test_noise_at_time_1_has_the_deviation_of_the_source() -> None:
    grey = torch.full((1, 3, 128, 128), 0.5)
    noise = start(grey, seeded()) - grey
    assert float(noise.std()) == pytest.approx(SOURCE_NOISE, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=5e-4)


def test_one_step_is_the_estimate_at_time_1() -> None:
    state = plain()
    assert torch.equal(completed(tiny_decoder(), state), estimate(state, state.pictures, 1.0))


def test_point_counts_on_the_way_and_not_at_its_start() -> None:
    state = plain()
    other = state.pictures + 0.1 * torch.randn(state.pictures.shape, generator=seeded(3))
    assert torch.equal(estimate(state, state.pictures, 1.0), estimate(state, other, 1.0))
    assert not torch.allclose(estimate(state, state.pictures, 0.5), estimate(state, other, 0.5), atol=1e-2)


def test_estimate_depends_on_latents_and_on_how_good_they_are() -> None:
    state = plain()
    before = estimate(state, state.pictures, 0.5)
    for changed in (
        state._replace(latents=state.latents + 1),
        state._replace(snr_db=state.snr_db + 6),
        state._replace(lengths=state.lengths // 2),
    ):
        assert not torch.allclose(before, estimate(changed, state.pictures, 0.5), atol=1e-4)


def test_picture_of_any_size_is_completed() -> None:
    network, channel = tiny_network(), ChannelState(10.0)
    picture = np.random.default_rng(0).integers(0, 256, (33, 70, 3), dtype=np.uint8)
    signal = encode(network, picture, channel, Fraction(1, 8))
    received = carry(channel, signal.symbols, seeded())
    found = decode(network, signal, received, tiny_decoder())
    assert found.shape == picture.shape
    assert not np.array_equal(found, decode(network, signal, received))
