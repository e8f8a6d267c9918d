"""Recorded streams, and the evaluation of the benchmark of many senders."""

from pathlib import Path

import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec
from common.frames import PersonLabels
from common.labels import LABEL_SIZE, split
from tests.bench.crowded import Measurements, evaluate, slope
from tests.netlab.recording import MODEL, read, record, write


def test_recording_round_trips_and_decodes_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    people = [PersonLabels(0, 0.9, split(rng.normal(size=LABEL_SIZE).astype(np.float32))) for _ in range(4)]
    packets = list(record(people, 10))
    write(tmp_path / "recording", packets)
    assert read(tmp_path / "recording") == packets
    assert [packet.key for packet in packets] == [True, True, *[False] * 8]
    codec = FrameCodec(MODEL)
    assert [codec.decode(packet.payload, sequence).frame.sequence for sequence, packet in enumerate(packets)] == list(
        range(10)
    )


def _measurements(**counters: int) -> Measurements:
    """Frames every 10 ms for 40 s, acknowledged after 2 ms, or after 3 ms while one sender is stopped."""
    stopped = [(110.0, 118.0), (130.0, 138.0)]
    due_s = np.arange(100.0, 140.0, 0.01)
    took_s = np.where([any(begin <= at < end for begin, end in stopped) for at in due_s], 0.003, 0.002)
    # Effects of the stopped sender end two seconds after it continues.
    took_s[(due_s >= 118.0) & (due_s < 120.0)] = 9.0
    at_s = np.arange(100.0, 140.0)
    memory = np.where(at_s < 108.0, 50_000.0, 80_000.0 + (at_s - 100.0))
    receiver = {"frames": 4000, "missing": 0, "again": 0, "broken": 0} | counters
    return Measurements(
        np.stack([due_s, took_s], 1),
        stopped,
        4000,
        receiver,
        np.stack([at_s, memory], 1),
        np.stack([at_s, 0.5 * at_s], 1),
    )


def test_figures_with_and_without_a_stopped_sender() -> None:
    systems = evaluate(_measurements())
    assert systems["all"]["acknowledged_p99_ms"] == pytest.approx(2.0)
    assert systems["one_stalled"]["acknowledged_p99_ms"] == pytest.approx(3.0)
    assert systems["all"]["p99_worse_percent"] == pytest.approx(50.0)
    assert systems["one_stalled"]["frames_per_s"] == pytest.approx(100.0, rel=0.01)


def test_slopes_ignore_the_start() -> None:
    figures = evaluate(_measurements())["all"]
    assert figures["receiver_rss_slope_kb_per_min"] == pytest.approx(60.0)
    assert figures["receiver_cpu"] == pytest.approx(0.5)
    assert slope(np.array([[0.0, 9.0], [1.0, 1.0], [2.0, 3.0], [3.0, 5.0], [4.0, 7.0]])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("counters", "lost", "again"), [({"frames": 3990, "missing": 10}, 10, 10), ({"frames": 4003, "again": 3}, 0, 3)]
)
def test_lost_and_repeated_frames(counters: dict[str, int], lost: int, again: int) -> None:
    figures = evaluate(_measurements(**counters))["all"]
    assert (figures["lost"], figures["again"]) == (lost, again)
