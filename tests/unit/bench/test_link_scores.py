"""Scores of links, of many senders, and of what arrived."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.frames import PersonLabels
from common.labels import FAST_GROUPS, GROUP_BY_NAME, LABEL_SIZE, concatenate, split
from tests.bench.bytes.link import display_ages, oldest_s, oracle
from tests.bench.bytes.rate import LabelClip, Sent, raw
from tests.bench.bytes.wire import FPS, Packets, figures
from tests.bench.time.failures import FAILURES, Line, evaluate
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace


def test_display_age_of_the_newest_frame_shown() -> None:
    at_s, ages = display_ages(np.array([0.0, 1.0, 0.5]), np.array([0.2, 1.2, 1.4]), 0.0, 2.0)
    assert (at_s[0], ages[0]) == pytest.approx((0.2, 0.2))
    assert ages[at_s < 1.199][-1] == pytest.approx(1.19, abs=0.02)
    # A frame shown after a newer one does not count.
    assert ages[-1] == pytest.approx(0.99, abs=0.02)
    captured, shown = np.array([0.9, 1.0, 1.4, 1.6]), np.array([1.0, 1.45, 1.7, 1.65])
    assert oldest_s(captured, shown, 1.0) == pytest.approx(0.3)
    assert oldest_s(captured, shown, 5.0) == float("inf")


def test_oracle_sends_every_frame_on_a_fast_link_and_the_newest_on_a_slow_one() -> None:
    captured, shown = oracle(Shape(None, 0.03), 10.0)
    assert len(captured) == pytest.approx(300, abs=2)
    assert (shown - captured).max() == pytest.approx(0.03, abs=1e-6)
    captured, shown = oracle(Shape(Trace.constant(1.04)), 60.0)
    # 130 bytes a second: one frame a second, captured at most one frame interval before it was sent.
    assert np.diff(shown) == pytest.approx(1.0, abs=0.04)
    assert (shown - captured).max() < 1.05


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
    means = [found[name] for name in ("wire_bytes_mean", "wire_packets", "back_packets")]
    assert means == pytest.approx([120 + 300, 31 / 30, 0.5])


def shown(seq: int, captured_at: float, at: float) -> Line:
    return {"what": "shown", "session": "s", "seq": seq, "captured_at": captured_at, "at": at}


def test_detection_of_and_recovery_from_failures() -> None:
    outage, stopped = FAILURES["outage_1s"], FAILURES["receiver_stopped"]
    sent = [{"what": "sent", "seq": seq, "at": at} for seq, at in ((0, 10.1), (1, 11.7), (2, 11.9))]
    source = [*sent, {"what": "disconnected", "at": 11.0}]
    # The first frame was in flight; the second waited for the network, which is wrong for a live sender.
    sink = [shown(0, 10.1, 11.6), shown(1, 11.2, 11.8), shown(2, 11.8, 12.0)]
    found = evaluate(source, sink, [(10.0, 11.5)], outage)
    assert (found["detected_max_s"], found["resumed_max_s"]) == pytest.approx((1.0, 0.5))
    assert (found["late_frames"], found["stale_frames"]) == (1, 1)
    twice = [{"what": "disconnected", "at": at} for at in (11.0, 21.5)]
    resumed = [shown(number, at - 0.1, at) for number, at in enumerate((12.6, 23.0))]
    found = evaluate(twice, resumed, [(10.0, 12.0), (20.0, 22.0)], stopped)
    names = ("detected_p50_s", "detected_max_s", "resumed_p50_s", "resumed_max_s")
    assert [found[name] for name in names] == pytest.approx([1.25, 1.5, 0.8, 1.0])
    never = evaluate([], [shown(0, 9.0, 9.1)], [(10.0, 12.0)], stopped)
    assert never["detected_max_s"] == never["resumed_max_s"] == float("inf")
    captured: list[Line] = [{"what": "captured", "seq": seq, "at": 9.0} for seq in range(3)]
    lost = evaluate(captured, [shown(0, 9.0, 9.1), shown(2, 9.0, 12.1), shown(2, 9.0, 12.2)], [(10.0, 12.0)], stopped)
    assert (lost["lost_frames"], lost["duplicate_frames"]) == (1, 1)


def test_raw_numbers_repeat_slow_groups_by_the_codecs_rule() -> None:
    labels = np.random.default_rng(0).normal(size=LABEL_SIZE).astype(np.float32)
    still = [PersonLabels(0, 1.0, split(labels)) for _ in range(20)]

    def changed(person: PersonLabels, by: float) -> PersonLabels:
        return replace(person, labels={**person.labels, "shape": person.labels["shape"] + np.float32(by)})

    def sent(people: list[PersonLabels], bits: int = 16, packed: bool = False) -> list[Sent]:
        return list(raw(LabelClip("test", tuple(people)), bits, packed))

    fast = sum(GROUP_BY_NAME[name].size for name in FAST_GROUPS)
    for bits in (8, 16):
        sizes = [frame.size for frame in sent(still, bits)]
        assert sizes == [1 + LABEL_SIZE * bits // 8] + 19 * [1 + fast * bits // 8]
    assert np.abs(sent(still, 8)[0].labels - concatenate(still[0].labels)).max() <= 0.5 * 5.0 / 127 + 1e-6
    moved = [*still[:3], *(changed(person, 1.0) for person in still[3:10])]
    moved += [changed(person, 2.0) for person in still[10:]]
    frames = sent(moved)
    assert [number for number, frame in enumerate(frames) if frame.size > 1 + 2 * fast] == [0, 8, 16]
    for number in (7, 19):
        expected = moved[0 if number == 7 else 19].labels["shape"]
        np.testing.assert_allclose(split(frames[number].labels)["shape"], expected, atol=1e-3)
    assert {frame.size for frame in sent([still[0], *(changed(person, 0.05) for person in still[1:])], 8)[1:]} == {
        1 + fast
    }
    for plain, packed in zip(sent(still[:3]), sent(still[:3], packed=True), strict=True):
        np.testing.assert_array_equal(plain.labels, packed.labels)
