import heapq

import numpy as np
import pytest

from common.wire.convert import Heartbeat
from common.wire.traffic import wire_bytes
from sender.congestion.capacity import LinkSample, PacketTrainSample
from sender.congestion.pacing import BackgroundPacer, ByteBudget, CongestionWindow, Meter, Prober, padded
from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace
from tests.support.link.link_samples import sample


def test_a_window_has_its_bytes_and_no_more() -> None:
    budget = ByteBudget(8000.0, 1000.0)
    assert budget.left(0.0) == 1000
    budget.spend(600, 0.0)
    budget.spend(300, 500.0)
    assert budget.left(999.0) == 100
    assert budget.left(1000.0) == 700
    assert budget.left(1500.0) == 1000


@pytest.mark.parametrize("budget_kbit", [5.0, 50.0])
def test_frames_share_the_budget_with_everything_else_and_leave_evenly(budget_kbit: float) -> None:
    meter, sent_ms, bits = Meter(1e3 * budget_kbit), [], 0.0
    for now_ms in range(60_000):
        if now_ms % 1000 == 0:
            meter.spend(100, now_ms, labels=False)
            bits += 800
        if meter.frame_wait_ms(now_ms) == 0.0:
            sent_ms.append(now_ms)
            meter.spend(250, now_ms)
            bits += 2000
            assert now_ms < 100 or meter.frame_wait_ms(now_ms) > 0
    assert 0.9 < bits / 60e3 / budget_kbit < 1.0
    spacing_ms = np.diff([at_ms for at_ms in sent_ms if at_ms >= 1000])
    assert spacing_ms.max() < 1.3 * spacing_ms.min()


def test_a_frame_that_has_waited_gives_way_to_one_that_comes_soon() -> None:
    meter = Meter(8000.0)
    meter.spend(180.0, 1000.0)  # 187 ms, of which 80 are a credit
    free_ms = 1000.0 + meter.frame_wait_ms(1000.0)
    assert free_ms == pytest.approx(1107.0, abs=1.0)
    assert meter.frame_wait_ms(free_ms, offered_ms=free_ms - 20.0) == pytest.approx(40.0)
    assert meter.frame_wait_ms(free_ms + 13.0, offered_ms=free_ms + 13.0) == 0.0
    assert meter.frame_wait_ms(free_ms + 40.0, offered_ms=free_ms - 20.0) == 0.0


def test_a_frame_that_is_let_go_waits_for_nothing_and_is_counted() -> None:
    meter = Meter(1.2e3)
    meter.spend(150, 0.0)
    meter.let_frame_go()
    meter.spend(50, 0.0, labels=False)
    assert meter.frame_wait_ms(0.0) == 0.0
    meter.spend(76, 0.0)
    assert meter.frame_wait_ms(0.0) > 900.0


def test_blobs_have_a_share() -> None:
    meter, data_bytes = Meter(20_000.0), 0.0
    for now_ms in range(0, 60_000, 33):
        if now := meter.blob_bytes(now_ms):
            meter.blob_sent(now, now_ms)
            data_bytes += now
    # A quarter of 2500 bytes a second, headers and answers included.
    assert 0.5 * 625 < data_bytes / 60 < 625


def test_a_handshake_is_paid_by_the_time_that_it_takes() -> None:
    for took_ms, waits_ms in ((10_000.0, 0.0), (100.0, 1000.0)):
        meter = Meter(2400.0)
        meter.connecting(5000.0)
        meter.spend(2900.0, 5000.0 + took_ms, labels=False)
        assert meter.frame_wait_ms(5000.0 + took_ms) == waits_ms
        meter.spend(600.0, 5000.0 + took_ms, labels=False)
        assert meter.frame_wait_ms(5000.0 + took_ms) > 900.0, "it has paid nothing else"


CAPACITY_BPS = 8e6
FREE = 10_000.0


def _acknowledged(pacer: BackgroundPacer, sequence: int, now_ms: float, *, rtt_ms: float = 60.0) -> None:
    pacer.acknowledged(sample(rtt_ms=rtt_ms, sequence=sequence), now_ms)


def _measured() -> BackgroundPacer:
    """The pacer of a link with a round trip of 60 ms."""
    pacer = BackgroundPacer()
    pacer.sent(0, 100, 0.0)
    _acknowledged(pacer, 0, 60.0)
    return pacer


def test_nothing_before_the_link_is_measured() -> None:
    assert _measured().allowed_bytes(0, None, FREE, 70.0) == 0
    assert BackgroundPacer().allowed_bytes(0, CAPACITY_BPS, FREE, 0.0) == 0


def test_bytes_in_flight_grow_with_the_time_without_a_stall() -> None:
    pacer = _measured()
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 60.0) == 200
    pacer.sent(1, 100, 30_000.0)
    _acknowledged(pacer, 1, 30_060.0)
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 30_060.0) == 500
    assert pacer.allowed_bytes(350, CAPACITY_BPS, FREE, 30_060.0) == 150
    assert pacer.allowed_bytes(450, CAPACITY_BPS, FREE, 30_060.0) == 0


def test_transmission_fits_the_gap_before_the_next_frame() -> None:
    assert _measured().allowed_bytes(0, 100e3, FREE, 70.0) == 125  # 10 ms


def test_pause_while_a_frame_is_overdue_and_after_it() -> None:
    pacer = _measured()
    pacer.sent(1, 10_000, 100.0)
    # Round trip 60 ms, receiver 5 ms, transmission 10 ms, tolerance 15 ms.
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 188.0) > 0
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 193.0) == 0
    _acknowledged(pacer, 1, 200.0, rtt_ms=100.0)
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 600.0) == 0
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 700.0) > 0


def test_longer_pause_after_a_stall() -> None:
    pacer = _measured()
    _acknowledged(pacer, 1, 1000.0, rtt_ms=500.0)
    assert pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 10_900.0) == 0
    _acknowledged(pacer, 2, 11_000.0)
    # The allowance starts again.
    assert 200 < pacer.allowed_bytes(0, CAPACITY_BPS, FREE, 11_100.0) < 320


FPS = 30.0


def simulate(
    shape: Shape, back_s: float, seconds: float, size: int = 200, hold_s: float = 0.005, most: int = 32
) -> list[tuple[float, float]]:
    """A live source over a pipe; the receiver reconstructs one frame at a time.

    Returns:
        (captured, shown) of every frame that was sent.
    """
    window, pipe = CongestionWindow(most), Pipe(shape)
    events: list[tuple[float, int, str, tuple[float, ...]]] = [(0.0, 0, "capture", ())]
    count, in_window, free_s = 0, 0, 0.0
    waiting: float | None = None
    held_back = False
    frames: list[tuple[float, float]] = []
    while events:
        now_s, _, kind, frame = heapq.heappop(events)
        if kind == "capture":
            waiting, held_back = now_s, in_window >= window.frames
            if now_s + 1 / FPS < seconds:
                count += 1
                heapq.heappush(events, (now_s + 1 / FPS, count, "capture", ()))
        else:
            in_window -= 1
            sent_s, held_s, waited = frame
            rtt_ms = 1e3 * (now_s - sent_s - held_s)
            sample = LinkSample(0, size, rtt_ms, 1e3 * held_s, None, None, waited > 0)
            window.update(sample, 1e3 * now_s)
        if waiting is not None and in_window < window.frames:
            arrived_s = pipe.offer(size, now_s)
            assert arrived_s is not None
            done_s = free_s = max(arrived_s, free_s) + hold_s
            frames.append((waiting, done_s))
            in_window, waiting = in_window + 1, None
            count += 1
            heapq.heappush(events, (done_s + back_s, count, "acknowledge", (now_s, done_s - arrived_s, held_back)))
    return frames


def test_long_link_carries_every_frame() -> None:
    for one_way_s in (0.0, 0.03, 0.15, 0.3):
        frames = simulate(Shape(None, one_way_s), one_way_s, 10.0)
        settled = [frame for frame in frames if frame[0] > 5.0]
        assert len(settled) >= 0.97 * 5.0 * FPS


def test_thin_link_has_hardly_any_queue() -> None:
    for kbps in (20.0, 40.0):
        # 200 bytes take 80 or 40 ms: the link carries fewer frames than the source captures.
        frames = simulate(Shape(Trace.constant(kbps), 0.03), 0.03, 20.0)
        ages_s = [arrived_s - captured_s for captured_s, arrived_s in frames if captured_s > 5.0]
        one_frame_s = 200 / (kbps * 125)
        # One frame in transmission and one queued, except when the window tries to grow.
        assert np.percentile(ages_s, 80) < 0.03 + 2.2 * one_frame_s + 1 / FPS
        assert max(ages_s) < 0.03 + 3.5 * one_frame_s + 1 / FPS
        assert len(ages_s) > 0.9 * 15.0 / one_frame_s


def test_live_source_limits_the_window_to_a_round_trip_of_frames() -> None:
    window = CongestionWindow(32)
    for number in range(200):
        now_ms = number * 1e3 / FPS
        window.offered(now_ms)
        # A round trip of 60 ms; every frame waited a little, as on a busy machine.
        window.update(LinkSample(number, 200, 60.0, 0.0, 33.0, 33.0, True), now_ms)
    assert window.frames == 3


def test_messages_queue_where_all_round_trips_are_longer_than_the_least() -> None:
    window = CongestionWindow(8)
    queues = [window.queues]
    for number, round_trip_ms in enumerate([60.0] * 4 + [100.0] * 4):
        window.update(LinkSample(number, 100, round_trip_ms, 0.0, None, None, False), 33.0 * number)
        queues.append(window.queues)
    assert queues == [True] * 4 + [False] * 4 + [True]  # nothing is known at first


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
