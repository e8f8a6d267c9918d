"""When a bypass shows something, and when it says that it shows nothing."""

import numpy as np
import pytest

from common.wear_kinds import VALUES
from tests.bench.removals import Removal, of_wears, removal_table


@pytest.mark.parametrize(
    ("bypassed", "verdict"),
    [
        ([2.0, 3.1, 4.0], "worse without"),
        ([0.0, 1.1, 2.0], "better without"),
        ([1.5, 1.5, 3.2], "shows nothing"),
        ([2.0, float("nan"), 4.1], "worse without"),
    ],
)
def test_difference_of_less_than_two_standard_errors_shows_nothing(bypassed: list[float], verdict: str) -> None:
    removal = Removal.of([1.0, 2.0, 3.0], bypassed)
    assert removal is not None
    assert removal.verdict == verdict
    table = removal_table({(("part", "zero"), "figure, mm"): removal})
    assert verdict in table


def test_majority_is_that_of_the_people_of_whom_the_kind_was_judged() -> None:
    readings = []
    for worn, read in ((0, 0), (0, 0), (0, 1), (1, 1), (None, 1)):
        shares = {name: np.eye(len(values), dtype=np.float32)[0] for name, values in VALUES.items()}
        bits = [(1 << len(values)) - 1 for values in VALUES.values()]
        name, column = "sleeve", list(VALUES).index("sleeve")
        shares[name] = np.eye(len(VALUES[name]), dtype=np.float32)[read]
        bits[column] = bits[column] if worn is None else 1 << worn
        readings.append((shares, bits))
    (removal,) = of_wears(readings, "test").values()
    assert (removal.people, removal.whole, removal.bypassed) == (4, 0.25, 0.25)
