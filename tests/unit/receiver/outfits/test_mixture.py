"""The mixture of outfits: what is drawn for whom."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.errors import WeightsError
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.outfits import mixture
from receiver.outfits.mixture import (
    BLOCKS,
    PLAIN,
    OutfitLatent,
    chosen_kinds,
    component,
    decode_outfit,
    draw,
    kept_kinds,
    style_of,
)


def wears(**shares: dict[str, float]) -> Wears:
    """Plain clothes, but with other probabilities of some attributes."""
    posterior = dict(PLAIN.posterior)
    for name, values in shares.items():
        posterior[name] = np.array([values.get(value, 0) for value in VALUES[name]], np.float32)
    return Wears(posterior)


def sample(known: Wears | None, identity: int) -> OutfitLatent:
    """A sample of the mixture alone."""
    drawn = draw(known, identity)
    return decode_outfit(drawn, drawn.noise)


def test_a_person_keeps_the_outfit_and_strangers_differ() -> None:
    assert sample(None, 3).z_prime == sample(None, 3).z_prime
    assert sample(None, 3).z_prime != sample(None, 4).z_prime


def test_people_of_whom_nothing_is_known_are_dressed() -> None:
    for identity in range(256):
        kinds = sample(None, identity).kinds
        assert kinds["layer"] == "top" and kinds["bottom"] == "trousers" and kinds["shoes"] == "shoes", identity
        assert kinds["hair"] not in ("bald", "hidden"), identity
        assert np.abs(draw(None, identity).noise).max() < 0.5 < np.abs(draw(PLAIN, identity).noise).max()


def test_kinds_are_drawn_in_proportion() -> None:
    drawn = Counter(chosen_kinds(wears(sleeve={"short": 0.65, "long": 0.35}), each)["sleeve"] for each in range(256))
    assert drawn["short"] / 256 == pytest.approx(0.65, abs=0.1) and set(drawn) == {"short", "long"}


def test_unknown_attributes_are_drawn_as_is_usual() -> None:
    sleeve = Wears({"sleeve": np.array([0, 1, 0, 0], np.float32)})
    drawn = [chosen_kinds(sleeve, each) for each in range(256)]
    assert {kinds["sleeve"] for kinds in drawn} == {"sleeveless"}
    assert Counter(kinds["layer"] for kinds in drawn).most_common(1)[0][0] == "top"
    assert {kinds["bottom_fit"] for kinds in drawn} == {"regular", "loose"}


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
        assert np.all(np.diag(factor) > 0), block


@pytest.mark.parametrize(
    ("block", "entry", "attribute", "rising"),
    [
        ("sleeve", "sleeve_end", "sleeve", ("sleeveless", "short", "long")),
        ("bottom", "leg_end", "bottom", ("brief", "shorts", "knee", "trousers")),
        ("top", "loose_m", "top_fit", ("tight", "regular", "loose")),
        ("bottom", "loose_m", "bottom_fit", ("tight", "regular", "loose")),
        ("shoes", "sole_m", "shoes", ("barefoot", "shoes", "boots")),
    ],
)
def test_learned_components_are_what_their_kinds_say(
    block: str, entry: str, attribute: str, rising: tuple[str, ...]
) -> None:
    kinds = sample(None, 0).kinds
    column = BLOCKS[block].index(entry)
    means = [float(component(block, {**kinds, attribute: value})[0][column]) for value in rising]
    assert means == sorted(means) and means[0] < means[-1], means


def test_samples_spread_as_their_component() -> None:
    known = PLAIN.as_known({"sleeve": "short"})
    ends = np.array([sample(known, each).z_prime["sleeve"]["sleeve_end"] for each in range(256)])
    mean, factor = component("sleeve", sample(known, 0).kinds)
    assert ends.mean() == pytest.approx(mean[0], abs=0.05)
    assert ends.std() == pytest.approx(factor[0, 0], rel=0.25)


def test_styles_follow_their_shares() -> None:
    shells = (("suit.a", 0.2), ("suit.b", 0.5), ("suit.c", 0.3))
    drawn = Counter(style_of(shells, each) for each in np.random.default_rng(0).normal(size=4000).tolist())
    for name, share in shells:
        assert drawn[name] / 4000 == pytest.approx(share, abs=0.03)


def test_kinds_are_kept_while_they_are_plausible() -> None:
    for identity in range(64):
        before = chosen_kinds(wears(sleeve={"short": 0.6, "long": 0.4}), identity)
        unsure = wears(sleeve={"short": 0.4, "long": 0.6})
        assert kept_kinds(unsure, identity, before) == before
        assert kept_kinds(wears(sleeve={"sleeveless": 1.0}), identity, before)["sleeve"] == "sleeveless"


def test_missing_and_damaged_mixtures_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "mixture.json"
    monkeypatch.setattr(mixture, "MIXTURE_FILE", damaged)
    for text in (None, "{", '{"components": {"folds": {"": {"mean": [1, 2], "factor": [[1]]}}}, "styles": {}}'):
        mixture._learned.cache_clear()
        if text is not None:
            damaged.write_text(text, encoding="utf-8")
        with pytest.raises(WeightsError, match="reinstall"):
            component("folds", {})
    mixture._learned.cache_clear()


def test_hair_is_the_likeliest_for_everybody_and_follows_what_is_seen() -> None:
    wide, near = wears(hair={"short": 0.7, "long": 0.3}), wears(hair={"short": 0.2, "long": 0.8})
    worn = [chosen_kinds(wide, each) for each in range(64)]
    assert {kinds["hair"] for kinds in worn} == {"short"}
    between = wears(hair={"short": 0.4, "long": 0.6})
    assert {kept_kinds(between, each, worn[each])["hair"] for each in range(64)} == {"short"}
    assert {kept_kinds(near, each, worn[each])["hair"] for each in range(64)} == {"long"}


def test_hair_is_long_where_long_kinds_together_are_likely() -> None:
    for shares, expected in (
        ({"short": 0.5, "tied": 0.1, "medium": 0.22, "long": 0.18}, "medium"),
        ({"short": 0.5, "tied": 0.2, "medium": 0.1, "long": 0.2}, "short"),
        ({"bald": 0.6, "medium": 0.4}, "medium"),
        ({"short": 0.2, "long": 0.8}, "long"),
    ):
        assert chosen_kinds(wears(hair=shares), 3)["hair"] == expected, shares
