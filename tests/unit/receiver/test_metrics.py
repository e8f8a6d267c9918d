import pytest
from prometheus_client import CollectorRegistry

from receiver.metrics import FrameFate, ReceiverMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ReceiverMetrics:
    return ReceiverMetrics(registry)


def test_frame_received_counts_bytes_by_group(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.frame_received({"root": 12})
    metrics.frame_received({"root": 10})
    assert registry.get_sample_value("bodywire_receiver_label_bytes_total", {"group": "root"}) == 22
    assert registry.get_sample_value("bodywire_receiver_frames_total", {"fate": "received"}) == 2


def test_frames_by_fate(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.frame_published(age_ms=120.0, clock_error_ms=3.0)
    for fate in FrameFate:
        metrics.frame_dropped(fate)
    for name in ("published", "duplicate", "malformed", "undecodable", "late"):
        assert registry.get_sample_value("bodywire_receiver_frames_total", {"fate": name}) == 1
    assert registry.get_sample_value("bodywire_receiver_frame_age_seconds_sum") == pytest.approx(0.12)
    assert registry.get_sample_value("bodywire_receiver_clock_error_seconds") == pytest.approx(0.003)


def test_people_left_out_are_counted(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.people_left_out(16)
    metrics.people_left_out(4)
    assert registry.get_sample_value("bodywire_receiver_people_left_out_total") == 20


def test_unknown_age_is_not_counted_and_a_negative_one_is_zero(
    metrics: ReceiverMetrics, registry: CollectorRegistry
) -> None:
    metrics.frame_published(age_ms=None, clock_error_ms=None)
    metrics.frame_published(age_ms=-1e9, clock_error_ms=1.0)
    assert registry.get_sample_value("bodywire_receiver_frames_total", {"fate": "published"}) == 2
    assert registry.get_sample_value("bodywire_receiver_frame_age_seconds_count") == 1
    assert registry.get_sample_value("bodywire_receiver_frame_age_seconds_sum") == 0.0


def test_peers_count_connections(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.peer_connected()
    metrics.peer_connected()
    metrics.peer_left()
    assert registry.get_sample_value("bodywire_receiver_peers") == 1


def test_meshes_by_kind(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.mesh_published("surface")
    assert registry.get_sample_value("bodywire_receiver_meshes_total", {"kind": "surface"}) == 1


def test_stage_is_timed(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    with metrics.stage("decode") as span:
        pass
    assert registry.get_sample_value("bodywire_receiver_stage_seconds_sum", {"stage": "decode"}) == span.seconds


def test_stage_timed_elsewhere_is_recorded(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.stage_passed("diffusion", 25.0)
    total = registry.get_sample_value("bodywire_receiver_stage_seconds_sum", {"stage": "diffusion"})
    assert total == pytest.approx(0.025)
