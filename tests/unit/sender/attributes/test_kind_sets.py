"""What is said of a posterior."""

import numpy as np
import pytest

from common.wear_kinds import VALUES
from sender.attributes.kinds import said, smallest_set


def sleeves(**shares: float) -> dict[str, np.ndarray]:
    return {"sleeve": np.array([shares.get(value, 0.0) for value in VALUES["sleeve"]], np.float32)}


def test_set_is_the_smallest_with_the_probability() -> None:
    shares = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.1, 0.1, 0.75]], np.float32)
    assert smallest_set(shares, 0.7).tolist() == [[True, True, False, False], [False, False, False, True]]
    assert smallest_set(shares, 0.81).sum(axis=1).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("posterior", "expected"),
    [
        (sleeves(long=0.95, short=0.05), ["long"]),
        (sleeves(sleeveless=0.3, short=0.6, long=0.1), ["short", "sleeveless"]),
        (sleeves(long=0.4, short=0.5, bare=0.1), ["short", "long"]),
        (sleeves(long=0.5, short=0.4, bare=0.1), None),
    ],
    ids=["sure", "rules out what is usual", "is read as fewer people are", "is read as most are"],
)
def test_what_tells_no_more_than_is_usual_is_not_said(
    posterior: dict[str, np.ndarray], expected: list[str] | None
) -> None:
    assert said(posterior, {"sleeve": 0.9}).sets().get("sleeve") == expected
