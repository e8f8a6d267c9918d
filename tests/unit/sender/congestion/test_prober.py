"""Accuracy and cost of packet trains on a simulated link of given capacity."""

import pytest

from common.wire.convert import Heartbeat
from common.wire.traffic import wire_bytes
from sender.congestion.capacity import PacketTrainSample
from sender.congestion.pacing import Prober, padded
from tests.support.link.link_samples import sample

FRAME_MS = 33.0


class Link:
    """A first-in-first-out link; the receiver's clock has an offset and time-stamps arrivals up to 0.2 ms late."""

    def __init__(self, bps: float, rtt_ms: float = 60.0) -> None:
        self.prober = Prober()
        self.measurements: list[PacketTrainSample] = []
        self.padding: list[tuple[float, int]] = []
        self._bps, self._rtt_ms = bps, rtt_ms
        self._free_ms = 0.0

    def run(
        self,
        begin_ms: float,
        seconds: float,
        frame_bytes: int = 80,
        *,
        queued: bool = False,
        useful_bytes: int = 0,
    ) -> None:
        for number in range(int(seconds * 1e3 / FRAME_MS)):
            now_ms = begin_ms + number * FRAME_MS
            self._transmit(frame_bytes, now_ms)
            self.prober.frame_sent(frame_bytes, now_ms)
            rtt_ms = self._rtt_ms + 50.0 * (queued and number > 0)
            self.prober.acknowledged(sample(rtt_ms=rtt_ms, message_bytes=frame_bytes, waited=queued), now_ms)
            sizes = self.prober.packet_train(now_ms + 10.0, useful_bytes)
            if sizes:
                self._packet_train(sizes, useful_bytes, now_ms + 10.0)

    def _transmit(self, message_bytes: int, now_ms: float) -> float:
        self._free_ms = max(self._free_ms, now_ms) + wire_bytes(message_bytes) * 8e3 / self._bps
        return self._free_ms + self._rtt_ms / 2

    def _packet_train(self, sizes: tuple[int, ...], useful_bytes: int, now_ms: float) -> None:
        heartbeats = [Heartbeat(int(now_ms * 1e6) + index) for index in range(len(sizes))]
        padding_bytes = max(sum(map(wire_bytes, sizes)) - useful_bytes, len(sizes) * wire_bytes(30))
        self.prober.sent({each.sent_ns: size for each, size in zip(heartbeats, sizes, strict=True)}, now_ms)
        self.prober.padded(padding_bytes, now_ms)
        self.padding.append((now_ms, padding_bytes))
        for index, (heartbeat, size) in enumerate(zip(heartbeats, sizes, strict=True)):
            arrives_ms = self._transmit(size, now_ms) + 0.2 * (index % 2) + 1e6
            measurement = self.prober.echoed(Heartbeat(heartbeat.sent_ns, int(arrives_ms * 1e6)))
            self.measurements += [measurement] if measurement else []


def most_in_ten_seconds(padding: list[tuple[float, int]]) -> int:
    return max(sum(size for at_ms, size in padding if 0 <= at_ms - first_ms < 1e4) for first_ms, _ in padding)


def test_trains_find_the_capacity_of_links_that_matter_with_little_padding() -> None:
    for mbps in (0.1, 0.3, 1.0, 2.0, 20.0):
        link = Link(mbps * 1e6)
        link.run(0.0, 40.0, frame_bytes=30 if mbps < 0.2 else 80)
        assert most_in_ten_seconds(link.padding) <= 5000 * 10 / 8, mbps
        settled = [measurement.bps / 1e6 for measurement in link.measurements if measurement.precise][1:]
        assert settled or mbps > 2
        assert mbps > 2 or settled == pytest.approx([mbps] * len(settled), rel=0.1)


def test_a_fast_link_is_known_to_carry_at_least_a_rate_that_nothing_exceeds() -> None:
    for mbps in (5.0, 20.0, 1000.0):
        link = Link(mbps * 1e6)
        link.run(0.0, 30.0)
        assert not any(measurement.resolved for measurement in link.measurements)
        assert 2.4e6 < link.measurements[-1].bps < mbps * 1e6
        assert sum(size for _, size in link.padding) < 6000


def test_blobs_take_the_place_of_padding_and_resolve_fast_links() -> None:
    link = Link(10e6)
    link.run(0.0, 20.0, useful_bytes=20_000)
    assert link.measurements[-1].precise
    assert link.measurements[-1].bps == pytest.approx(10e6, rel=0.1)
    assert most_in_ten_seconds(link.padding) <= 5000 * 10 / 8


def test_unexpected_echoes_are_ignored_and_a_lost_train_times_out() -> None:
    assert not Prober(0.0).packet_train(0.0, 20_000), "without probing"
    prober, lossy = Prober(), Prober()
    heartbeats = [Heartbeat(index + 1) for index in range(len(prober.packet_train(0.0)))]
    prober.sent({each.sent_ns: 40 for each in heartbeats}, 0.0)
    assert prober.echoed(Heartbeat(99, 5)) is None
    prober.restart()
    assert all(prober.echoed(Heartbeat(heartbeat.sent_ns, 5)) is None for heartbeat in heartbeats)
    lossy.sent({index + 1: size for index, size in enumerate(lossy.packet_train(0.0))}, 0.0)
    assert lossy.packet_train(1500.0) == ()
    assert lossy.packet_train(2500.0)


def test_padding_reaches_the_size_and_never_shortens() -> None:
    bare = Heartbeat(1)
    assert padded(bare, 500, 30).padding == bytes(470)
    assert padded(bare, 20, 30) == bare
