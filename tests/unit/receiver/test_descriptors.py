import pytest

from common.errors import UsageError
from common.io.telemetry import MOST_REQUESTS
from receiver.descriptors import ConnectionLimits, connection_limits


@pytest.mark.parametrize("descriptors", [256, 1024, 4096, 1 << 20])
def test_connections_and_what_is_kept_free_are_within_the_limit(descriptors: int) -> None:
    limits = connection_limits(descriptors, 512, 256)
    kept_free = descriptors - limits.kept_free_from
    assert limits.senders + 3 * limits.page + MOST_REQUESTS + kept_free <= descriptors
    assert kept_free >= 160 and min(limits.senders, limits.page) >= 16
    assert limits.enough is ((limits.senders, limits.page) == (512, 256)) is (descriptors > 1024)


def test_a_receiver_without_page_has_all_for_senders() -> None:
    limits = connection_limits(256, 512, 0)
    assert limits == ConnectionLimits(256, 80, 0, enough=False) and limits.kept_free_from == 96
    assert str(limits).startswith("256 files may be open: 80 connections of senders, 0 of the page, fewer than")


def test_too_few_descriptors_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"open 200 files, which is too few: .* ulimit -n 4096"):
        connection_limits(200, 512, 256)
