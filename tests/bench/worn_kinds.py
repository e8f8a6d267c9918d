"""Kinds of clothes as a reader gives them."""

from collections.abc import Mapping

import numpy as np

from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.outfits.mixture import PLAIN

_SURE = 0.8


def softened(kinds: Mapping[str, str]) -> Wears:
    """A posterior as a reader gives it: mostly the true values."""
    posterior = dict(PLAIN.posterior)
    for name, value in kinds.items():
        values = VALUES[name]
        shares = np.full(len(values), (1 - _SURE) / (len(values) - 1), np.float32)
        shares[values.index(value)] = _SURE
        posterior[name] = shares
    return Wears(posterior)
