import random

import pytest

from sender.link.transport.backoff import Backoff


def test_delays_double_up_to_the_cap_and_are_shortened_by_at_most_half() -> None:
    backoff = Backoff(0.1, 0.5, random.Random(7))
    for longest_s in (0.1, 0.2, 0.4, 0.5, 0.5):
        assert longest_s / 2 <= backoff.next_s() <= longest_s


def test_reset_begins_again() -> None:
    backoff = Backoff(0.1, 10.0, random.Random(7))
    for _ in range(6):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_cap_below_first_is_refused() -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(1.0, 0.5, random.Random(7))
