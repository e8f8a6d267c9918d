"""Posteriors of what people wear, as bytes."""

import itertools

import numpy as np
import pytest

from common.arrays import FloatArray
from common.wear_kinds import TOGETHER, VALUES, worn_together
from common.wears import WITHDRAWN, Wears, possible


def sure(**values: str) -> Wears:
    """Certain of the first value of each attribute, or of the given one."""
    return Wears(
        {
            name: np.eye(len(all_), dtype=np.float32)[all_.index(values.get(name, all_[0]))]
            for name, all_ in VALUES.items()
        }
    )


def drawn(seed: int) -> dict[str, FloatArray]:
    """Of some attributes the probabilities of up to three values."""
    rng, posterior = np.random.default_rng(seed), {}
    for name, values in VALUES.items():
        if rng.random() < 0.8:
            shares = np.zeros(len(values), np.float32)
            shares[rng.permutation(len(values))[:3]] = rng.dirichlet(np.ones(3))
            posterior[name] = shares
    return posterior


def test_decoded_sets_are_the_same_and_probabilities_nearly() -> None:
    for seed in range(200):
        posterior = drawn(seed)
        decoded = Wears.decode(Wears(posterior).encode()).posterior
        assert decoded.keys() == posterior.keys()
        for name, shares in posterior.items():
            assert np.abs(decoded[name] - shares).max() < 2 / 15, (seed, name)
            assert np.array_equal(decoded[name] > 0, shares > 0), (seed, name)
            assert decoded[name].sum() == pytest.approx(1)


def test_unknown_attributes_cost_no_byte_and_have_usual_values() -> None:
    everything, sleeve = sure(), Wears({"sleeve": sure().posterior["sleeve"]})
    assert (len(everything.encode()), len(sleeve.encode()), Wears({}).encode()) == (13, 3, WITHDRAWN)
    assert sleeve.sets() == {"sleeve": ["bare"]}
    value, share = sleeve.likeliest()["shoes"]
    assert value == "shoes" and share == pytest.approx(0.7) and set(sleeve.likeliest()) == set(VALUES)


@pytest.mark.parametrize("data", [b"", b"\xff" + b"\0" * 11, b"\xff" + b"\0" * 13, b"\xff" * 13, b"\0\0", b"\4\0"])
def test_bytes_that_nobody_encoded_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="what a person wears"):
        Wears.decode(data)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.2, 0.2], [1.5, -0.5, 0.0]])
def test_posteriors_that_are_none_are_refused(shares: list[float]) -> None:
    posterior = {**sure().posterior, "top_fit": np.array(shares, np.float32)}
    with pytest.raises(ValueError, match="top_fit"):
        Wears(posterior)


def test_possible_values_are_bits() -> None:
    bits = dict(zip(VALUES, possible({"sleeve": ["short", "long"], "shoes": ["?"]}).tolist(), strict=True))
    assert bits["sleeve"] == 0b1100 and bits["shoes"] == 0b1111 and bits["hair"] == 0b111111
    with pytest.raises(ValueError, match="sleeve is one of bare, sleeveless, short, long, not blue"):
        possible({"sleeve": ["blue"]})


_RULED = sorted({name for rule in TOGETHER for name in (rule.attribute, rule.other)})


@pytest.mark.parametrize("said", [(), *((name,) for name in _RULED)])
def test_what_is_worn_together_breaks_no_rule_and_keeps_what_was_said(said: tuple[str, ...]) -> None:
    for values in itertools.product(*(VALUES[name] for name in _RULED)):
        kinds = dict(zip(_RULED, values, strict=True))
        worn = worn_together(kinds, said)
        assert all(worn[rule.attribute] not in rule.values or worn[rule.other] in rule.others for rule in TOGETHER), (
            worn
        )
        assert all(worn[name] == kinds[name] for name in said), (kinds, worn)


def test_outline_costs_a_byte_a_number_and_is_exact_to_a_millimetre() -> None:
    outline = np.array([0.031, -0.0184, np.nan, 0.2], np.float32)
    data = Wears({}, outline).encode()
    decoded = Wears.decode(data).outline
    assert len(data) == len(WITHDRAWN) + 4 and decoded is not None
    assert np.array_equal(np.isnan(decoded), np.isnan(outline))
    assert np.nanmax(np.abs(decoded - outline)) <= 0.001001
    assert Wears.decode(data).encode() == data
    assert Wears.decode(sure().encode()).outline is None
    with pytest.raises(ValueError, match="another length"):
        Wears.decode(data[:-1])


def test_outline_stays_with_known_kinds() -> None:
    outline = np.zeros(4, np.float32)
    assert Wears({}, outline).as_known({"hair": "long"}).outline is outline
