import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from receiver.link.refusals import Refusal
from receiver.metrics import DropReason, ReceiverMetrics
from receiver.publish.files import free_and_size_bytes


@pytest.fixture
def metrics() -> ReceiverMetrics:
    return ReceiverMetrics(CollectorRegistry())


def value(metrics: ReceiverMetrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"bodywire_receiver_{name}", labels)
    assert found is not None, name
    return found


def publish(metrics: ReceiverMetrics) -> None:
    metrics.frame_published(age_ms=120.0, clock_error_ms=3.0)
    metrics.person_published(0.75, np.full(17, 0.5, np.float32))
    metrics.mesh_published("surface")
    metrics.people_left_out(16)


def reconstruct(metrics: ReceiverMetrics) -> None:
    metrics.engine_started("ray")
    metrics.replicas_running(3)
    metrics.batch_taken(2)
    metrics.batch_taken(8)
    metrics.batch_retried()
    metrics.person_taken(0.02)
    metrics.person_finished(0.25)
    metrics.stage_took("diffusion", 25.0)


def connect(metrics: ReceiverMetrics) -> None:
    metrics.peer_connected()
    metrics.peer_connected()
    metrics.peer_left()
    metrics.watch_streams(lambda: 3)
    metrics.watch_queue(lambda: 7)


def receive(metrics: ReceiverMetrics) -> None:
    metrics.frame_received({"root": 12})
    # Of a short packet, the estimates of the groups may sum to more than it has.
    metrics.frame_received({"root": 10, "header": -2})
    for fate in DropReason:
        metrics.frame_dropped(fate)


@pytest.mark.parametrize(
    ("act", "samples"),
    [
        (receive, {("label_bytes_total", "group", "root"): 22, ("frames_total", "fate", "received"): 2}),
        (receive, {("frames_total", "fate", each): 1 for each in ("duplicate", "malformed", "undecodable", "late")}),
        (publish, {("frames_total", "fate", "published"): 1, ("meshes_total", "kind", "surface"): 1}),
        (publish, {("frame_age_seconds_sum",): 0.12, ("clock_error_seconds",): 0.003, ("person_score_sum",): 0.75}),
        (publish, {("keypoint_score_count",): 17, ("people_left_out_total",): 16}),
        (publish, {("keypoint_score_bucket", "le", "0.4"): 0, ("keypoint_score_bucket", "le", "0.5"): 17}),
        (reconstruct, {("engine", "kind", "ray"): 1, ("engine", "kind", "local"): 0, ("engine_replicas",): 3}),
        (reconstruct, {("engine_batch_people_bucket", "le", "2.0"): 1, ("engine_batch_people_sum",): 10}),
        (reconstruct, {("engine_queue_seconds_sum",): 0.02, ("engine_service_seconds_sum",): 0.25}),
        (reconstruct, {("engine_retries_total",): 1, ("stage_seconds_sum", "stage", "diffusion"): 0.025}),
        (connect, {("peers",): 1, ("streams",): 3, ("queued_people",): 7}),
    ],
)
def test_events_are_counted(
    metrics: ReceiverMetrics, act: Callable[[ReceiverMetrics], None], samples: dict[tuple[Any, ...], float]
) -> None:
    act(metrics)
    for (name, *label), expected in samples.items():
        assert value(metrics, name, **dict([label] if label else [])) == pytest.approx(expected), name


def test_unknown_age_is_not_counted_and_a_negative_one_is_zero(metrics: ReceiverMetrics) -> None:
    metrics.frame_published(age_ms=None, clock_error_ms=None)
    metrics.frame_published(age_ms=-1e9, clock_error_ms=1.0)
    assert value(metrics, "frames_total", fate="published") == 2
    assert (value(metrics, "frame_age_seconds_count"), value(metrics, "frame_age_seconds_sum")) == (1, 0.0)


def test_disk_is_read_at_each_scrape_and_may_be_gone(metrics: ReceiverMetrics, tmp_path: Path) -> None:
    metrics.watch_disk(lambda: free_and_size_bytes(tmp_path))
    assert 0 < value(metrics, "disk_free_bytes") < value(metrics, "disk_size_bytes")
    metrics.watch_disk(lambda: free_and_size_bytes(tmp_path / "removed"))
    assert math.isnan(value(metrics, "disk_free_bytes"))


def test_every_label_exists_before_its_first_event(metrics: ReceiverMetrics) -> None:
    assert all(value(metrics, "refused_total", reason=reason) == 0 for reason in Refusal)
    assert value(metrics, "engine_retries_total") == 0
