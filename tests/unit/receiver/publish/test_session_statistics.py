"""What is counted over the lines of a session."""

import pytest

from receiver.publish.session_statistics import SessionStatistics


@pytest.mark.parametrize(
    ("counted", "total"),
    [
        ([4000, 9000, 8600, 9100], 9100),  # an estimate is corrected
        ([4000, 9000, 1000, 1500], 10_500),  # the receiver was restarted
    ],
)
def test_link_is_counted_over_corrections_and_restarts(counted: list[int], total: int) -> None:
    statistics = SessionStatistics()
    for number, size in enumerate(counted):
        statistics.add({"captured_at": 10.0 + number, "bytes": {"total": 20}, "link_bytes": size}, 100, 50.0 + number)
    assert statistics.link_bytes == total
