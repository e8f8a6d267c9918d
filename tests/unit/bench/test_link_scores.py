"""What the bench of bytes on the wire counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.bench.bytes.wire import FPS, Packets, figures


def test_bytes_are_counted_by_direction_and_divided_by_the_frames_of_an_interval(tmp_path: Path) -> None:
    log = tmp_path / "packets.jsonl"
    log.write_text("")
    assert np.array_equal(Packets.read(log).size, [])
    rows = [(1000.0 + (number + 0.5) / FPS, True, 120) for number in range(30)]
    rows += [(1000.0 + (number + 0.7) / FPS, False, 180) for number in range(1, 30, 2)]
    # A packet train in the second interval, and packets before and after the time counted.
    rows += [(1000.0 + 15 / FPS, True, 9000), (999.9, True, 50), (1001.1, False, 50)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = figures(Packets.read(log), 1000.0, 3)
    medians = [found[f"{name}_bytes_median"] for name in ("wire", "back", "both")]
    assert medians == pytest.approx([120, 90, 210])
    assert [found[name] for name in ("wire_bytes_mean", "back_bytes_mean")] == pytest.approx([120 + 300, 90])
