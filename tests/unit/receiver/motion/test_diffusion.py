"""The paper's diffusion of unseen limbs: equations 26 and 27 as they stand."""

import numpy as np
import pytest

from receiver.motion.mixture import ENTRIES, SIZE, PaperDiffusion, load_denoiser

LEGS = ("left_leg", "right_leg")


@pytest.fixture(scope="module")
def paper() -> PaperDiffusion:
    return PaperDiffusion(load_denoiser())


def test_noise_of_one_is_taken_away_again(paper: PaperDiffusion) -> None:
    sample = np.random.default_rng(0).normal(size=SIZE)
    refined = paper.refined(sample, sample, LEGS, (), 0, np.ones(SIZE))
    for name in LEGS:
        assert np.allclose(refined[ENTRIES[name]], sample[ENTRIES[name]])
    assert not refined[ENTRIES["head"]].any(), "it is seen"


def test_other_noise_stays(paper: PaperDiffusion) -> None:
    sample = np.random.default_rng(0).normal(size=SIZE)
    one, other = (paper.refined(sample, sample, LEGS, (), 0, noise * np.ones(SIZE)) for noise in (0.0, 2.0))
    legs = np.concatenate([ENTRIES[name] for name in LEGS])
    assert np.allclose((one + other)[legs], 2 * sample[legs]) and np.abs(one - other)[legs].max() > 0.1
