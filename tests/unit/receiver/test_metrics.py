import math
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from receiver.link.refusals import Refusal
from receiver.metrics import DropReason, ReceiverMetrics
from receiver.publish.disk_space import free_and_size_bytes


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
    for fate in DropReason:
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


def test_published_person_counts_scores_and_keypoints(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.person_published(0.75, np.full(17, 0.5, np.float32))
    assert registry.get_sample_value("bodywire_receiver_person_score_sum") == 0.75
    assert registry.get_sample_value("bodywire_receiver_keypoint_score_count") == 17
    assert registry.get_sample_value("bodywire_receiver_keypoint_score_bucket", {"le": "0.4"}) == 0
    assert registry.get_sample_value("bodywire_receiver_keypoint_score_bucket", {"le": "0.5"}) == 17


def test_gauges_are_read_at_each_scrape(metrics: ReceiverMetrics, registry: CollectorRegistry, tmp_path: Path) -> None:
    metrics.watch_streams(lambda: 3)
    metrics.watch_queue(lambda: 7)
    metrics.watch_disk(lambda: free_and_size_bytes(tmp_path))
    assert registry.get_sample_value("bodywire_receiver_streams") == 3
    assert registry.get_sample_value("bodywire_receiver_queued_people") == 7
    free, size = (registry.get_sample_value(f"bodywire_receiver_disk_{name}_bytes") for name in ("free", "size"))
    assert free is not None
    assert size is not None
    assert 0 < free < size


def test_disk_that_cannot_be_read_breaks_no_scrape(
    metrics: ReceiverMetrics, registry: CollectorRegistry, tmp_path: Path
) -> None:
    metrics.watch_disk(lambda: free_and_size_bytes(tmp_path / "removed"))
    assert math.isnan(registry.get_sample_value("bodywire_receiver_disk_free_bytes") or 0.0)


def test_every_refusal_exists_before_the_first_one(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    for reason in Refusal:
        assert registry.get_sample_value("bodywire_receiver_refused_total", {"reason": reason}) == 0


def test_engine_reports_batches_retries_and_replicas(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("bodywire_receiver_engine_retries_total") == 0
    metrics.engine_started("ray")
    metrics.replicas_running(3)
    metrics.batch_taken(2)
    metrics.batch_taken(8)
    metrics.batch_retried()
    metrics.person_taken(0.02)
    metrics.person_finished(0.25)
    for kind, value in (("ray", 1), ("local", 0)):
        assert registry.get_sample_value("bodywire_receiver_engine", {"kind": kind}) == value
    assert registry.get_sample_value("bodywire_receiver_engine_replicas") == 3
    assert registry.get_sample_value("bodywire_receiver_engine_batch_people_bucket", {"le": "2.0"}) == 1
    assert registry.get_sample_value("bodywire_receiver_engine_batch_people_sum") == 10
    assert registry.get_sample_value("bodywire_receiver_engine_queue_seconds_sum") == 0.02
    assert registry.get_sample_value("bodywire_receiver_engine_service_seconds_sum") == 0.25
    assert registry.get_sample_value("bodywire_receiver_engine_retries_total") == 1


def test_meshes_by_kind(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.mesh_published("surface")
    assert registry.get_sample_value("bodywire_receiver_meshes_total", {"kind": "surface"}) == 1


def test_stage_is_timed(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    with metrics.stage("decode") as span:
        pass
    assert registry.get_sample_value("bodywire_receiver_stage_seconds_sum", {"stage": "decode"}) == span.seconds


def test_stage_timed_elsewhere_is_recorded(metrics: ReceiverMetrics, registry: CollectorRegistry) -> None:
    metrics.stage_took("diffusion", 25.0)
    total = registry.get_sample_value("bodywire_receiver_stage_seconds_sum", {"stage": "diffusion"})
    assert total == pytest.approx(0.025)
