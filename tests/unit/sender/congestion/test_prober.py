"""Accuracy and cost of packet trains on a simulated link of given capacity."""

import pytest

from common.wire.convert import Heartbeat
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.prober import Prober, padded
from sender.congestion.samples import wire_bytes
from tests.support.link_samples import sample

FRAME_MS = 33.0


class Link:
    """A first-in-first-out link; the receiver's clock has an offset and time-stamps arrivals up to 0.2 ms late."""

    def __init__(self, bps: float, rtt_ms: float = 60.0) -> None:
        self.prober = Prober()
        self.measurements: list[PacketTrainSample] = []
        self.probing_bytes = 0
        self._bps, self._rtt_ms = bps, rtt_ms
        self._free_ms = 0.0

    def run(self, begin_ms: float, seconds: float, frame_bytes: int = 80, *, queued: bool = False) -> None:
        for number in range(int(seconds * 1e3 / FRAME_MS)):
            now_ms = begin_ms + number * FRAME_MS
            self._transmit(frame_bytes, now_ms)
            self.prober.frame_sent(frame_bytes, now_ms)
            rtt_ms = self._rtt_ms + 50.0 * (queued and number > 0)
            self.prober.acknowledged(sample(rtt_ms=rtt_ms, message_bytes=frame_bytes, waited=queued), now_ms)
            sizes = self.prober.packet_train(now_ms + 10.0)
            if sizes:
                self._packet_train(sizes, now_ms + 10.0)

    def _transmit(self, message_bytes: int, now_ms: float) -> float:
        self._free_ms = max(self._free_ms, now_ms) + wire_bytes(message_bytes) * 8e3 / self._bps
        return self._free_ms + self._rtt_ms / 2

    def _packet_train(self, sizes: tuple[int, ...], now_ms: float) -> None:
        heartbeats = [Heartbeat(int(now_ms * 1e6) + index) for index in range(len(sizes))]
        self.prober.sent(heartbeats, sizes, now_ms)
        self.probing_bytes += sum(wire_bytes(size) for size in sizes)
        for index, (heartbeat, size) in enumerate(zip(heartbeats, sizes, strict=True)):
            arrives_ms = self._transmit(size, now_ms) + 0.2 * (index % 2) + 1e6
            measurement = self.prober.echoed(Heartbeat(heartbeat.sent_ns, int(arrives_ms * 1e6)), now_ms + self._rtt_ms)
            self.measurements += [measurement] if measurement else []


def test_trains_find_the_capacity_with_a_few_percent_of_it() -> None:
    for mbps in (0.1, 0.3, 1.0, 5.0, 20.0):
        link = Link(mbps * 1e6)
        link.run(0.0, 20.0, frame_bytes=30 if mbps < 0.2 else 80)
        assert len(link.measurements) > 10
        settled = link.measurements[8:]
        assert [measurement.bps / 1e6 for measurement in settled] == pytest.approx([mbps] * len(settled), rel=0.1)
        assert all(measurement.resolved for measurement in settled)
        assert link.probing_bytes * 8e-6 / 20.0 / mbps < 0.05


def test_link_faster_than_the_clock_resolution_gives_lower_bounds() -> None:
    link = Link(1e9)
    link.run(0.0, 5.0)
    assert not any(measurement.resolved for measurement in link.measurements)
    assert 20e6 < link.measurements[-1].bps < 1e9


def test_no_trains_while_frames_measure_the_link() -> None:
    for frame_bytes, queued in ((5000, False), (80, True)):
        link = Link(5e6)
        link.run(0.0, 3.0)
        before = len(link.measurements)
        link.run(3000.0, 5.0, frame_bytes, queued=queued)
        assert len(link.measurements) <= before + 1
        link.run(9000.0, 3.0)
        assert len(link.measurements) > before + 5


def test_no_trains_while_frames_fill_most_of_the_link() -> None:
    link = Link(100e3)
    link.run(0.0, 10.0, frame_bytes=200)
    before = len(link.measurements)
    link.run(10_000.0, 10.0, frame_bytes=200)
    assert len(link.measurements) == before


def test_unexpected_echoes_are_ignored() -> None:
    prober = Prober()
    sizes = prober.packet_train(0.0)
    heartbeats = [Heartbeat(index + 1) for index in range(len(sizes))]
    prober.sent(heartbeats, sizes, 0.0)
    assert prober.echoed(Heartbeat(99, 5), 10.0) is None
    prober.restart()
    assert all(prober.echoed(Heartbeat(heartbeat.sent_ns, 5), 10.0) is None for heartbeat in heartbeats)


def test_lost_train_times_out() -> None:
    prober = Prober()
    sizes = prober.packet_train(0.0)
    prober.sent([Heartbeat(index + 1) for index in range(len(sizes))], sizes, 0.0)
    assert prober.packet_train(1500.0) == ()
    assert prober.packet_train(2500.0)


def test_padding_reaches_the_size_and_never_shortens() -> None:
    bare = Heartbeat(1)
    assert padded(bare, 500, 30).padding == bytes(470)
    assert padded(bare, 20, 30) == bare


def test_trains_cost_a_share_of_the_frames_once_the_capacity_is_known() -> None:
    link = Link(10e6)
    link.run(0.0, 6.0)
    before, bytes_before = len(link.measurements), link.probing_bytes
    assert before >= 9
    link.run(6000.0, 60.0)
    assert len(link.measurements) - before >= 6
    frames_bytes = 60.0 * 1e3 / FRAME_MS * wire_bytes(80)
    assert link.probing_bytes - bytes_before < 0.5 * frames_bytes


def test_trains_are_frequent_while_blobs_are_sent() -> None:
    link = Link(10e6)
    link.run(0.0, 6.0)
    before = len(link.measurements)
    for second in range(6, 12):
        link.prober.blob_sent(second * 1e3)
        link.run(second * 1e3, 1.0)
    assert len(link.measurements) - before > 10


def test_trains_stay_frequent_on_a_thin_link() -> None:
    link = Link(200e3)
    link.run(0.0, 6.0)
    before = len(link.measurements)
    link.run(6000.0, 6.0)
    assert len(link.measurements) - before > 8
