import pytest
from prometheus_client import CollectorRegistry

from common.frames import PersonLabels
from sender.metrics import SenderMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> SenderMetrics:
    return SenderMetrics(registry)


def test_frame_sent_counts_bytes_by_group(metrics: SenderMetrics, registry: CollectorRegistry) -> None:
    metrics.frame_sent({"root": 12, "header": 20})
    metrics.frame_sent({"root": 10, "shape": 5})
    sizes = {group: registry.get_sample_value("bodywire_sender_label_bytes_total", {"group": group}) for group in
             ("root", "header", "shape")}  # fmt: skip
    assert sizes == {"root": 22, "header": 20, "shape": 5}
    assert registry.get_sample_value("bodywire_sender_frames_total", {"fate": "sent"}) == 2


def test_rate_and_link_gauges(metrics: SenderMetrics, registry: CollectorRegistry) -> None:
    metrics.set_rate("hands", 0.8)
    metrics.set_link(bandwidth_bps=3e5, rtt_ms=40.0, capacity_bps=2e6, stress=0.25)
    assert registry.get_sample_value("bodywire_sender_rho", {"group": "hands"}) == pytest.approx(0.8)
    assert registry.get_sample_value("bodywire_sender_bandwidth_bytes_per_second") == pytest.approx(3e5 / 8)
    assert registry.get_sample_value("bodywire_sender_delay_seconds") == pytest.approx(0.04)
    assert registry.get_sample_value("bodywire_sender_capacity_bytes_per_second") == pytest.approx(2e6 / 8)
    assert registry.get_sample_value("bodywire_sender_link_stress") == 0.25


def test_reconnects_leave_out_the_first_connection(metrics: SenderMetrics, registry: CollectorRegistry) -> None:
    counts = []
    for connected in (True, False, False, True, False, True):
        metrics.peer_connected(connected)
        counts.append(registry.get_sample_value("bodywire_sender_reconnects_total"))
    assert counts == [0, 0, 0, 1, 1, 2]


def test_offered_frame_counts_people_and_confidence(metrics: SenderMetrics, registry: CollectorRegistry) -> None:
    metrics.frame_offered([PersonLabels(0, 0.9, {}, confidence={"root": 0.5}), PersonLabels(1, 0.7, {})])
    assert registry.get_sample_value("bodywire_sender_people") == 2
    assert registry.get_sample_value("bodywire_sender_person_score_sum") == pytest.approx(1.6)
    assert registry.get_sample_value("bodywire_sender_label_confidence_sum", {"group": "root"}) == 0.5
    metrics.frame_offered([])
    assert registry.get_sample_value("bodywire_sender_people") == 0
    assert registry.get_sample_value("bodywire_sender_frames_total", {"fate": "offered"}) == 2


def test_an_account_below_zero_ends_no_sender() -> None:
    metrics = SenderMetrics()
    metrics.frame_sent({"root": 12, "header": -1})
    assert metrics.registry.get_sample_value("bodywire_sender_label_bytes_total", {"group": "root"}) == 12
