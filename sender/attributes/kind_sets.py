"""What is said of a posterior: of each attribute the smallest set of values that is right often enough, or nothing.

The probability that a set must have is chosen on people whom the network has not seen, so that nine of ten sets hold
the truth.  Of people who are read as most people are, and of whom all that is usual remains possible, the most frequent
value is right as often as what is read: their sets are not sent.
"""

from collections.abc import Mapping

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.wears import USUAL, Wears

COVERAGE = 0.9
"""Share of the sets that hold the truth."""


def said(posterior: Mapping[str, FloatArray], mass: Mapping[str, float]) -> Wears:
    """The sets, each with the posterior over its values.

    Args:
        mass: attribute → probability that its values have together at least; what is not in it is never said.
    """
    sets = {name: smallest_set(posterior[name], least) for name, least in mass.items()}
    kept = {
        name: np.where(held, posterior[name], 0) for name, held in sets.items() if tells(name, posterior[name], held)
    }
    return Wears({name: np.asarray(shares / shares.sum(), np.float32) for name, shares in kept.items()})


def smallest_set(shares: FloatArray, mass: float) -> BoolArray:
    """(…, V) whether each value is among the likeliest that together have this probability."""
    order = np.argsort(-shares, axis=-1, kind="stable")
    ranked = np.take_along_axis(shares, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    held = np.zeros(shares.shape, bool)
    np.put_along_axis(held, order, before < mass, axis=-1)
    return held


def tells(name: str, shares: FloatArray, held: BoolArray) -> BoolArray:
    """(…) whether a set (…, V) of an attribute, of these probabilities, tells more than what is usual."""
    usual = smallest_set(USUAL[name], COVERAGE)
    told: BoolArray = (shares.argmax(axis=-1) != USUAL[name].argmax()) | (usual & ~held).any(axis=-1)
    return told
