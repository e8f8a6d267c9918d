"""The table of `--profile`."""

import pytest

from common.frames import PersonLabels
from common.io.profile import Profile
from sender.metrics import SenderMetrics


def rows_of(table: list[str]) -> dict[str, list[str]]:
    return {cells[0]: cells[1:] for cells in (line.split() for line in table)}


def test_table_has_the_most_expensive_stage_first_and_what_is_elsewhere() -> None:
    clock = iter([10.0, 12.0])  # of the process: at the first pass, and at the end
    profile = Profile(lambda: next(clock))
    for milliseconds in range(1, 101):
        profile.passed("capture", milliseconds / 1e3)
        profile.passed("codec", 0.002)
    profile.worked("capture", 0.5)
    for _ in range(100):
        profile.worked("codec", 0.010)
    table = profile.table(frames=100)
    assert [line.split()[0] for line in table] == ["stage", "codec", "capture", "elsewhere", "all,"]
    rows = rows_of(table)
    assert rows["capture"] == ["100", "50.5", "95.0", "5.0", "25%"]
    assert rows["codec"] == ["100", "2.0", "2.0", "10.0", "50%"]
    assert rows["elsewhere"] == ["5.0", "25%"]
    assert rows["all,"] == ["100", "frames", "20.0", "100%"]
    assert len({len(line) for line in table}) == 1


def test_table_before_the_first_frame() -> None:
    table = Profile(lambda: 3.0).table(frames=0)
    assert [line.split()[0] for line in table] == ["stage", "elsewhere", "all,"]


def test_metrics_profile_every_stage_and_count_the_frames() -> None:
    metrics = SenderMetrics()
    with metrics.stage("codec"):
        pass
    assert metrics.profile_table() == []
    metrics.profile = Profile()
    with metrics.stage("semantics"):
        sum(range(300_000))
    with pytest.raises(RuntimeError), metrics.stage("perception"):
        raise RuntimeError
    metrics.frame_offered([PersonLabels(0, 0.9, {})])
    rows = rows_of(metrics.profile_table())
    assert rows.keys() == {"stage", "semantics", "perception", "elsewhere", "all,"}
    assert rows["semantics"][0] == rows["perception"][0] == rows["all,"][0] == "1"
    assert float(rows["semantics"][3]) > 0
