"""The mixture of poses given what is seen, and how it is learned."""

import numpy as np
import pytest

from receiver.motion.mixture import ENTRIES, MODES, SIZE, PaperDiffusion, PoseMixture, load_denoiser
from receiver.train.poses import fitted, modes_of

# What senders say of the leading entry of the trunk, of its truth.
SAID = 0.52
LEGS = frozenset(("left_leg", "right_leg"))


def two_modes() -> PoseMixture:
    """In both, an entry of the legs follows one of the trunk; their means differ in both."""
    means = np.zeros((2, SIZE))
    means[1, ENTRIES["torso"][0]] = means[1, ENTRIES["left_leg"][0]] = 4.0
    covariance = np.eye(SIZE)
    trunk, leg = ENTRIES["torso"][0], ENTRIES["left_leg"][0]
    covariance[trunk, leg] = covariance[leg, trunk] = 0.9
    return PoseMixture(np.array([0.5, 0.5]), means, np.linalg.cholesky(np.stack([covariance] * 2)), np.array([0, 2]))


def test_seen_entries_choose_the_mode_and_move_the_unseen_ones() -> None:
    given = two_modes().given(LEGS, frozenset())
    x, place = np.zeros(SIZE), list(given.hidden).index(ENTRIES["left_leg"][0])
    for value, mode in ((0.0, 0), (4.0, 1)):
        x[ENTRIES["torso"][0]] = SAID * value
        assert given.log_shares(x).argmax() == mode
        assert given.sample(x, mode, np.zeros(SIZE))[place] == pytest.approx(value)
    x[ENTRIES["torso"][0]] = SAID
    # Regression on an entry of variance 1 that is seen with noise.
    assert given.sample(x, 0, np.zeros(SIZE))[place] == pytest.approx(0.9 / (1 + 0.76**2))


def test_a_guess_of_unseen_limbs_tells_less_than_their_sight() -> None:
    x = np.zeros(SIZE)
    x[ENTRIES["left_leg"][0]] = 4.0
    gaps = []
    for hidden, weak in ((LEGS, frozenset()), (LEGS, LEGS), (frozenset(("head",)), frozenset())):
        shares = two_modes().given(hidden, weak).log_shares(x)
        gaps.append(shares[1] - shares[0])
    assert gaps[0] < gaps[1] < gaps[2]


def test_the_package_has_all_modes() -> None:
    mixture = PoseMixture.load()
    assert set(mixture.modes.tolist()) == set(range(len(MODES)))
    assert mixture.shares.sum() == pytest.approx(1, abs=1e-3)


def test_noise_is_of_the_identity() -> None:
    first, again, other = (two_modes().drawn(identity) for identity in (3, 3, 4))
    assert all(map(np.array_equal, first, again)) and not np.array_equal(first[1], other[1])


def test_a_mode_stays_unless_another_is_clearly_likelier() -> None:
    mixture, quiet = two_modes(), np.zeros(len(MODES) + 2)
    assert mixture.chosen(np.array([0.0, 1.0]), quiet) == 1
    assert mixture.chosen(np.array([0.0, 1.0]), quiet, before=0) == 0
    assert mixture.chosen(np.array([0.0, 2.0]), quiet, before=0) == 1


def test_fitted_finds_two_clusters() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(scale=0.3, size=(600, SIZE))
    leg = ENTRIES["left_leg"][0]
    x[:200, leg] += 3
    mixture = fitted(x, np.full(600, 1 / 600), 2, rng)
    order = mixture.means[:, leg].argsort()
    assert np.allclose(mixture.shares[order], [2 / 3, 1 / 3], atol=0.02)
    assert np.allclose(mixture.means[order, leg], [0, 3], atol=0.1)


def test_modes_of_legs() -> None:
    hip, straight, bent = [0.1, 0.0, 0.0], [[0.1, 0.4, 0.0], [0.1, 0.8, 0.0]], [[0.1, 0.1, -0.4], [0.1, 0.5, -0.4]]
    joints = np.zeros((3, 22, 3), np.float32)
    joints[:, 5] = [0, -0.5, 0]
    for row, (knee, ankle) in enumerate((straight, bent, bent)):
        for first, sign in ((16, 1), (19, -1)):
            joints[row, first : first + 3] = np.array([hip, knee, ankle]) * [sign, 1, 1]
    assert [MODES[mode] for mode in modes_of(joints, np.array([True, True, False]))] == ["stand", "sit", "crouch"]


DIFFUSION_LEGS = ("left_leg", "right_leg")


@pytest.fixture(scope="module")
def paper() -> PaperDiffusion:
    return PaperDiffusion(load_denoiser())


def test_noise_of_one_is_taken_away_again(paper: PaperDiffusion) -> None:
    sample = np.random.default_rng(0).normal(size=SIZE)
    refined = paper.refined(sample, sample, DIFFUSION_LEGS, (), 0, np.ones(SIZE))
    for name in DIFFUSION_LEGS:
        assert np.allclose(refined[ENTRIES[name]], sample[ENTRIES[name]])
    assert not refined[ENTRIES["head"]].any(), "it is seen"


def test_other_noise_stays(paper: PaperDiffusion) -> None:
    sample = np.random.default_rng(0).normal(size=SIZE)
    one, other = (paper.refined(sample, sample, DIFFUSION_LEGS, (), 0, noise * np.ones(SIZE)) for noise in (0.0, 2.0))
    legs = np.concatenate([ENTRIES[name] for name in DIFFUSION_LEGS])
    assert np.allclose((one + other)[legs], 2 * sample[legs]) and np.abs(one - other)[legs].max() > 0.1
