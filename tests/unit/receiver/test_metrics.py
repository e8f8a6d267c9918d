import math
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from common.doctor import Doubt
from common.errors import OutputError, UsageError
from common.io.addresses import Address
from common.io.telemetry import MOST_REQUESTS
from receiver.config import ListenConfig, ReceiverConfig, VmcConfig
from receiver.doctor import _checks, _listen, _motion
from receiver.link.refusals import Refusal
from receiver.metrics import DropReason, ReceiverMetrics
from receiver.ports import ConnectionLimits, connection_limits
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


@pytest.mark.parametrize("descriptors", [256, 1024, 4096, 1 << 20])
def test_connections_and_what_is_kept_free_are_within_the_limit(descriptors: int) -> None:
    limits = connection_limits(descriptors, 512, 256)
    kept_free = descriptors - limits.kept_free_from
    assert limits.senders + 3 * limits.page + MOST_REQUESTS + kept_free <= descriptors
    assert kept_free >= 160 and min(limits.senders, limits.page) >= 16
    assert limits.enough is ((limits.senders, limits.page) == (512, 256)) is (descriptors > 1024)


def test_a_receiver_without_page_has_all_for_senders() -> None:
    limits = connection_limits(256, 512, 0)
    assert limits == ConnectionLimits(256, 80, 0, enough=False) and limits.kept_free_from == 96
    assert str(limits).startswith("256 files may be open: 80 connections of senders, 0 of the page, fewer than")


def test_too_few_descriptors_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"open 200 files, which is too few: .* ulimit -n 4096"):
        connection_limits(200, 512, 256)


# Blocks below the size that glibc maps by themselves, every hundredth of which stays: the others are free, and inside.
_PEAK = """
from pathlib import Path
from receiver.pipeline import return_freed_memory
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
blocks = [bytes(100_000) for _ in range(2_000)]
kept = blocks[::100]
del blocks
before = resident()
return_freed_memory()
print(before - resident())
"""


def test_return_freed_memory_between_blocks_in_use() -> None:
    pages = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, check=True, text=True).stdout
    assert 4096 * int(pages) > 100e6


def test_each_program_that_takes_motion_and_those_that_do_not() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, socket.socket(type=socket.SOCK_DGRAM) as closed:
        for each in (listener, closed):
            each.bind(("127.0.0.1", 0))
        port, refused = listener.getsockname()[1], closed.getsockname()[1]
        closed.close()
        good = ReceiverConfig(vmc=VmcConfig((f"localhost:{port}", f"127.255.255.255:{port}")))
        assert _motion(good) == (
            f"--vmc localhost:{port} leads to 127.0.0.1:{port}; "
            f"--vmc 127.255.255.255:{port} leads to 127.255.255.255:{port}, every machine of that network"
        )
        with pytest.raises(Doubt) as doubt:
            _motion(ReceiverConfig(vmc=VmcConfig((str(port), str(refused), "nowhere.invalid"))))
    first, second = str(doubt.value).split("; ")
    assert first.startswith(f"--vmc 127.0.0.1:{refused}: nothing gets there (Connection refused): start the program")
    assert second.startswith("--vmc nowhere.invalid:39539: ") and second.endswith(
        "give an address that this machine knows"
    )


def test_port_of_senders_is_free_for_both_protocols() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", taken.getsockname()[1])
        assert _listen(ReceiverConfig(listen=ListenConfig(address, quic=False))) == f"{address} is free"
        with pytest.raises(OutputError, match=f"cannot listen on UDP {address} .*: give --listen another port"):
            _listen(ReceiverConfig(listen=ListenConfig(address)))


def test_what_takes_seconds_is_checked_last() -> None:
    assert [name for name, _ in _checks(ReceiverConfig(vmc=VmcConfig(("39539",))))][-1] == "networks"


def test_motion_is_checked_where_it_is_sent() -> None:
    names = [[name for name, _ in _checks(ReceiverConfig(vmc=VmcConfig(texts)))] for texts in ((), ("39539",))]
    assert ["motion" in each for each in names] == [False, True]
