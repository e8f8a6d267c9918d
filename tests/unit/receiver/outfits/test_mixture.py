"""The mixture of outfits: what is drawn for whom."""

from collections import Counter

import numpy as np
import pytest

from common.wears import VALUES, Wears
from receiver.outfits.mixture import BLOCKS, PLAIN, chosen_kinds, component, sample


def wears(**shares: dict[str, float]) -> Wears:
    """Plain clothes, but with other probabilities of some attributes."""
    posterior = dict(PLAIN.posterior)
    for name, values in shares.items():
        posterior[name] = np.array([values.get(value, 0) for value in VALUES[name]], np.float32)
    return Wears(posterior)


def test_a_person_keeps_the_outfit_and_strangers_differ() -> None:
    assert sample(None, 3).z_prime == sample(None, 3).z_prime
    assert sample(None, 3).z_prime != sample(None, 4).z_prime


def test_people_of_whom_nothing_is_known_are_dressed() -> None:
    for identity in range(256):
        kinds = sample(None, identity).kinds
        assert kinds["layer"] == "top" and kinds["bottom"] == "trousers" and kinds["shoes"] == "shoes", identity
        assert kinds["hair"] not in ("bald", "hidden"), identity


def test_kinds_are_drawn_in_proportion() -> None:
    drawn = Counter(chosen_kinds(wears(sleeve={"short": 0.65, "long": 0.35}), each)["sleeve"] for each in range(256))
    assert drawn["short"] / 256 == pytest.approx(0.65, abs=0.1) and set(drawn) == {"short", "long"}


def test_implausible_kinds_are_not_drawn() -> None:
    unsure = wears(layer={"top": 0.8, "robe": 0.1, "coat": 0.1})
    assert {chosen_kinds(unsure, each)["layer"] for each in range(256)} == {"top"}


@pytest.mark.parametrize(("name", "bare", "other"), [("sleeve", "bare", "long"), ("shoes", "barefoot", "shoes")])
def test_skin_is_bare_only_if_that_is_likely(name: str, bare: str, other: str) -> None:
    doubtful, likely = wears(**{name: {bare: 0.45, other: 0.55}}), wears(**{name: {bare: 1.0}}, layer={"none": 1.0})
    assert bare not in {chosen_kinds(doubtful, each)[name] for each in range(256)}
    assert {chosen_kinds(likely, each)[name] for each in range(256)} == {bare}


def test_small_changes_of_the_posterior_rarely_change_the_kinds() -> None:
    before, after = wears(sleeve={"short": 0.6, "long": 0.4}), wears(sleeve={"short": 0.55, "long": 0.45})
    changed = sum(chosen_kinds(before, each) != chosen_kinds(after, each) for each in range(256))
    assert changed < 0.1 * 256


def test_kinds_can_be_worn_together() -> None:
    together = wears(layer={"dress": 0.5, "none": 0.5}, sleeve={"bare": 0.5, "long": 0.5}, hair={"hidden": 1.0})
    for identity in range(64):
        kinds = chosen_kinds(together, identity)
        assert kinds["hair"] != "hidden", "no headwear hides it"
        assert (kinds["layer"] == "none") == (kinds["sleeve"] == "bare"), kinds
        assert kinds["layer"] != "dress" or kinds["bottom"].startswith("skirt"), kinds


def test_components_have_factors_of_their_covariance() -> None:
    for block, entries in BLOCKS.items():
        mean, factor = component(block, sample(None, 0).kinds)
        assert mean.shape == (len(entries),) and np.array_equal(factor, np.tril(factor)), block
    _, factor = component("top", sample(None, 0).kinds)
    fit, hem = BLOCKS["top"].index("fit"), BLOCKS["top"].index("hem")
    assert (factor @ factor.T)[fit, hem] < 0, "looser tops are longer"
