"""The bench of the export notices what it is there for."""

import json
from pathlib import Path

import numpy as np
import pytest

from receiver.export.recorded_session import read_session
from tests.bench import export
from tests.support.recorded_motion import publish_motion, random_poses

GOOD = {"vertex_error_mm": 0.01, "bvh_joint_error_mm": 0.1, "played_mm": 400.0, "bent_mm": 300.0, "bent_share": 0.1}


def test_good_figures_pass() -> None:
    export._check(GOOD)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vertex_error_mm", 2.0),
        ("bvh_joint_error_mm", 2.0),
        ("played_mm", 0.0),
        ("bent_mm", 0.0),
        ("bent_share", 0.0),
        ("bent_share", 1.0),
    ],
)
def test_bad_figure_is_a_failure(key: str, value: float) -> None:
    with pytest.raises(export.ExportFailed):
        export._check({**GOOD, key: value})


def test_repeated_session_is_long_and_its_bodies_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LONG_FRAMES", 7)
    long = export.repeated(publish_motion(tmp_path / "short", [random_poses(3)]), tmp_path / "long")
    bodies = read_session(long, None).people[0]
    np.testing.assert_allclose([body.time_s for body in bodies], np.arange(7) / export.RATE, atol=1e-6)
    assert all(body.path.is_file() for body in bodies)
    assert len({json.loads(line)["seq"] for line in (long / "frames.jsonl").read_text().splitlines()}) == 7
