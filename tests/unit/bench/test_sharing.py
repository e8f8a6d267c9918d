"""Evaluation of the benchmark of a receiver that is shared."""

from typing import Any

import pytest

from tests.bench.sharing import live_figures
from tests.netlab.label_senders import crowd
from tests.support.fake_reconstructor import label_frame


def _line(source: str, captured_at: float, people: int = 1) -> dict[str, Any]:
    return {"source": source, "captured_at": captured_at, "age_ms": 500.0, "people": [{}] * people}


def test_figures_of_the_measured_sender_beside_others() -> None:
    lines = [_line("measured", 100.0 + number) for number in range(12)]
    lines += [_line("others", 103.0 + number, people=16) for number in range(3)]
    figures = live_figures(lines, from_s=102.0, to_s=112.0, acknowledged=15)
    assert figures["fps"] == pytest.approx(1.0)
    assert (figures["age_p50_ms"], figures["age_p95_ms"]) == (500.0, 500.0)
    assert figures["late_frames"] == 3
    assert figures["people_of_others_per_s"] == pytest.approx(4.8)


def test_people_of_a_frame_are_distinct_and_move() -> None:
    recorded = label_frame(0, *range(64)).people
    first, second = crowd(recorded, 0, 32), crowd(recorded, 1, 32)
    assert [person.identity for person in first] == list(range(32))
    assert first[1].labels is recorded[2].labels and second[1].labels is recorded[3].labels
