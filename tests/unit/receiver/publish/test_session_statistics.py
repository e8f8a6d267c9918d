"""What is counted over the lines of a session."""

import pytest

from receiver.publish.session_records import SessionStatistics, is_album


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


@pytest.mark.parametrize(
    ("sources", "album"),
    [
        (["a.jpg", "b.jpg", "c.jpg"], True),
        (["a.jpg", "a.jpg (2)", "b.tif"], True),
        (["IMG.jpg", "IMG.jpg", "b.jpg", "c.jpg"], True),  # of two folders
        (["clip.mp4"] * 3, False),
        ([""] * 3, False),
        (["/dev/video0"] * 9 + ["/dev/video2"] * 9, False),
        (["a.jpg"], False),
    ],
)
def test_frames_with_names_of_their_own_are_an_album(sources: list[str], album: bool) -> None:
    statistics = SessionStatistics()
    for number, source in enumerate(sources):
        statistics.add({"source": source, "captured_at": 10.0 + number}, 100, 50.0)
    kept = SessionStatistics.from_dict(statistics.as_dict())
    assert is_album(len(sources), statistics.sources) == is_album(len(sources), kept.sources) == album
