"""Crops as pictures."""

import numpy as np
import pytest

from common.arrays import Image
from tests.bench.rivals.stills import FORMATS, Still, decode, missing, settings, through_stills


@pytest.fixture
def crop() -> Image:
    gradient = np.linspace(0, 255, 96)
    return np.stack(
        [np.add.outer(gradient, gradient) / 2, np.tile(gradient, (96, 1)), np.full((96, 96), 90)], -1
    ).astype(np.uint8)


@pytest.mark.parametrize("name", FORMATS)
def test_finer_quality_costs_bytes_and_is_more_exact(name: str, crop: Image) -> None:
    if missing(name):
        pytest.skip(str(missing(name)))
    noisy = np.clip(crop + np.random.default_rng(0).normal(0, 12, crop.shape), 0, 255).astype(np.uint8)
    coarse, fine = (through_stills(Still(name, 1, quality), [noisy]) for quality in (10, 90))
    assert coarse.sizes[0] < fine.sizes[0]
    errors = [float(np.abs(sent.pictures[0].astype(int) - noisy).mean()) for sent in (coarse, fine)]
    assert errors[1] < errors[0] < 40


def test_decoded_picture_has_its_size(crop: Image) -> None:
    assert decode(Still("JPEG", 1, 75).encode(crop)).shape == crop.shape


@pytest.mark.parametrize("name", FORMATS)
def test_quick_settings_are_some_of_all(name: str) -> None:
    assert set(settings(name, quick=True)) < set(settings(name, quick=False))
