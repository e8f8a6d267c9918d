import socket
import urllib.request
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from common.errors import OutputError
from common.io.addresses import Address
from common.io.telemetry import DaemonMetrics, MetricsServer


def test_server_serves_the_registry_and_frees_the_port() -> None:
    registry = CollectorRegistry()
    Counter("frames", "Frames", registry=registry).inc(3)
    server = MetricsServer(Address("127.0.0.1", 0), registry)
    with server, urllib.request.urlopen(f"http://{server.address}/metrics") as response:
        assert b"frames_total 3.0" in response.read()
    with MetricsServer(server.address, registry) as again:
        assert again.address == server.address


def test_server_on_used_port_names_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = occupant.getsockname()[1]
        with pytest.raises(OutputError, match=rf"127\.0\.0\.1:{port} .*--metrics"):
            MetricsServer(Address("127.0.0.1", port), CollectorRegistry())


def test_idle_connections_hold_little_and_keep_nobody_out() -> None:
    with MetricsServer(Address("127.0.0.1", 0), CollectorRegistry()) as server, ExitStack() as stack:
        address = server.address.host, server.address.port
        idle = [stack.enter_context(socket.create_connection(address, 30)) for _ in range(40)]
        with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=30) as response:
            assert response.status == 200
        assert [connection.recv(1) for connection in idle[:24]] == [b""] * 24
        assert len(server._server.socket.connections) <= 8, "half of them, of one address"


def test_whoever_asks_byte_by_byte_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.io.telemetry._REQUEST_TIMEOUT_S", 0.0)
    with MetricsServer(Address("127.0.0.1", 0), CollectorRegistry()) as server, socket.socket() as slow:
        slow.connect((server.address.host, server.address.port))
        slow.send(b"G")
        assert slow.recv(1) == b""


def test_metrics_of_two_daemons_in_one_process_are_independent() -> None:
    first, second = (DaemonMetrics(program, ["codec"], ["late"], ["failed"]) for program in ("sender", "sender"))
    first.frame_dropped("late")
    with pytest.raises(RuntimeError), first.stage("codec"):
        raise RuntimeError
    labels = {"frames_total": {"fate": "late"}, "stage_seconds_count": {"stage": "codec"}}
    for name, label in labels.items():
        values = [each.registry.get_sample_value(f"bodywire_sender_{name}", label) for each in (first, second)]
        assert values == [1, 0], "every label value exists before its first event"
    assert first.registry.get_sample_value("process_resident_memory_bytes") is not None
