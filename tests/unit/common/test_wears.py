"""Posteriors of what people wear, as bytes."""

import itertools

import numpy as np
import pytest

from common.arrays import FloatArray
from common.wear_kinds import TOGETHER, VALUES, worn_together
from common.wears import WEARS_BYTES, Wears, possible


def sure(**values: str) -> Wears:
    """Certain of the first value of each attribute, or of the given one."""
    return Wears(
        {
            name: np.eye(len(all_), dtype=np.float32)[all_.index(values.get(name, all_[0]))]
            for name, all_ in VALUES.items()
        }
    )


def drawn(seed: int) -> dict[str, FloatArray]:
    rng = np.random.default_rng(seed)
    return {name: rng.dirichlet(np.full(len(values), 0.3)).astype(np.float32) for name, values in VALUES.items()}


def test_decoded_posteriors_differ_by_less_than_a_grain() -> None:
    for seed in range(200):
        posterior = drawn(seed)
        decoded = Wears.decode(Wears(posterior).encode()).posterior
        for name in VALUES:
            assert np.abs(decoded[name] - posterior[name]).max() < 1 / 15, (seed, name)
            assert decoded[name].sum() == pytest.approx(1)


def test_what_was_decoded_encodes_to_the_same_bytes() -> None:
    for seed in range(50):
        data = Wears(drawn(seed)).encode()
        assert Wears.decode(data).encode() == data


@pytest.mark.parametrize("data", [b"", b"\0" * (WEARS_BYTES - 1), b"\0" * (WEARS_BYTES + 1), b"\xff" * WEARS_BYTES])
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


def test_likelier_values_are_worn_instead() -> None:
    shares = {name: [1.0 / len(values)] * len(values) for name, values in VALUES.items()}
    shares["bottom"][VALUES["bottom"].index("skirt_long")] = 0.9
    assert worn_together({"layer": "dress", "bottom": "shorts"})["bottom"] == "skirt_short"
    assert worn_together({"layer": "dress", "bottom": "shorts"}, shares=shares)["bottom"] == "skirt_long"
