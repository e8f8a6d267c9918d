import pytest
from prometheus_client import CollectorRegistry

from common.frames import PersonLabels
from sender.metrics import SenderMetrics, together


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> SenderMetrics:
    return SenderMetrics(registry)


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
    metrics.frames_sent(1, {"root": 12, "header": -1})
    assert metrics.registry.get_sample_value("bodywire_sender_label_bytes_total", {"group": "root"}) == 12


def test_several_cameras_are_summed_and_the_worst_state_shows() -> None:
    first, second = SenderMetrics(), SenderMetrics(CollectorRegistry())
    for number, camera in enumerate((first, second), 1):
        camera.frames_sent(2, {"root": 10 * number})
        camera.frame_offered([PersonLabels(0, 0.9, {})] * number)
        camera.set_link(bandwidth_bps=8.0, rtt_ms=1e3 * number, capacity_bps=0.0, stress=0.0)
        with camera.stage("codec"):
            pass
    first.peer_connected(True)
    registry = together([first, second])
    values = {
        name: registry.get_sample_value(f"bodywire_sender_{name}")
        for name in ("people", "connected", "delay_seconds", "bandwidth_bytes_per_second", "person_score_count")
    } | {
        "messages": registry.get_sample_value("bodywire_sender_messages_total"),
        "sent": registry.get_sample_value("bodywire_sender_frames_total", {"fate": "sent"}),
    }
    expected = {"people": 3, "connected": 0, "delay_seconds": 2, "bandwidth_bytes_per_second": 2, "messages": 2}
    assert values == {**expected, "person_score_count": 3, "sent": 4}
    assert registry.get_sample_value("bodywire_sender_label_bytes_total", {"group": "root"}) == 30
    assert registry.get_sample_value("bodywire_sender_stage_seconds_count", {"stage": "codec"}) == 2
    began = [camera.registry.get_sample_value("bodywire_sender_reconnects_created") for camera in (first, second)]
    assert registry.get_sample_value("bodywire_sender_reconnects_created") == min(filter(None, began))
    assert registry.get_sample_value("process_resident_memory_bytes") is not None
    assert {family.name for family in registry.collect()} == {family.name for family in first.registry.collect()}
