"""The network laboratory: traces, pipes, display age, and hosts in network namespaces."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import SourceError
from tests.bench.capacity import score
from tests.bench.link import POLICIES, Ages, Link, Run, chart, display_ages, oldest_s, oracle, trace_files
from tests.netlab.hosts import ADDRESSES, TwoHosts, allowed
from tests.netlab.pipe import Pipe, Shape
from tests.netlab.relay import shape_from_json, shape_to_json
from tests.netlab.traces import Trace

_traces = st.lists(st.tuples(st.floats(0.05, 3.0), st.floats(0.0, 5000.0)), min_size=1, max_size=8).map(
    lambda segments: Trace.steps(*segments)
)


def test_trace_formats(tmp_path: Path) -> None:
    files = {
        "mahimahi": "".join(f"{ms}\n" for ms in range(0, 1000, 12)),
        "alphartc": json.dumps({"uplink": {"trace_pattern": [{"duration": 500, "capacity": 1000}] * 2}}),
        "norway": "0.0\t1.0\n0.5\t1.0\n1.0\t1.0\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.write_text(text)
        trace = Trace.read(path)
        # 1 Mbit/s is 125,000 bytes a second.
        assert trace.carried(trace.length_s) / trace.length_s == pytest.approx(125_000, rel=0.02), name
        assert trace.carried(5 * trace.length_s) == pytest.approx(5 * trace.carried(trace.length_s))


@pytest.mark.parametrize("text", ["", "{}", "a b c\n", '{"uplink": {"trace_pattern": []}}', "1 2 3\n4 5\n"])
def test_other_files_are_not_traces(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a trace"):
        Trace.read(path)


@given(trace=_traces, at_s=st.floats(0, 100), size=st.floats(1, 1e6))
def test_time_of_inverts_carried(trace: Trace, at_s: float, size: float) -> None:
    later_s = trace.time_of(trace.carried(at_s) + size)
    assert trace.carried(later_s) - trace.carried(at_s) == pytest.approx(size, rel=1e-6, abs=1e-3)


def test_scaled_percentiles() -> None:
    trace = Trace.steps(*((1.0, float(kbps)) for kbps in range(0, 10_000, 100))).scaled(20.0, 400.0)
    kbps = trace.bytes_per_s / 125
    assert np.percentile(kbps, [5, 95]) == pytest.approx([20, 400], abs=10)
    assert (kbps >= 0).all()


def test_packet_is_queued_and_then_delayed() -> None:
    # 8 kbit/s: one packet of 1,000 bytes a second.
    pipe = Pipe(Shape(Trace.constant(8.0), delay_s=0.25))
    assert [pipe.offer(1000, 0.0) for _ in range(3)] == pytest.approx([1.25, 2.25, 3.25])
    assert pipe.offer(1000, 10.0) == pytest.approx(11.25)


def test_full_queue_drops() -> None:
    pipe = Pipe(Shape(Trace.constant(8.0), queue_bytes=2500))
    assert [pipe.offer(1000, 0.0) is None for _ in range(4)] == [False, False, True, True]
    assert pipe.offer(1000, 1.0) is not None


def test_outage_loses_packets_in_flight() -> None:
    pipe = Pipe(Shape(None, delay_s=0.1, outages=[(1.0, 2.0)]))
    arrivals = [pipe.offer(100, at_s) for at_s in (0.5, 0.95, 1.5, 2.0)]
    assert arrivals == [pytest.approx(0.6), None, None, pytest.approx(2.1)]


def test_losses_have_the_given_share_and_are_reproducible() -> None:
    first, second = ([Pipe(Shape(loss=0.2, seed=3)).offer(100, 0.0)] for _ in range(2))
    assert first == second
    pipe = Pipe(Shape(loss=0.2, seed=3))
    lost = sum(pipe.offer(100, number / 100) is None for number in range(2000))
    assert lost == pytest.approx(400, abs=60)


def test_shape_json_round_trip() -> None:
    shape = Shape(Trace.steps((1.0, 5.0), (2.0, 7.0)), 0.1, 0.2, ((1.0, 2.0),), 3000, 9)
    decoded = shape_from_json(shape_to_json(shape))
    assert decoded.trace is not None
    assert shape.trace is not None
    assert np.array_equal(decoded.trace.ends_s, shape.trace.ends_s)
    assert (decoded.delay_s, decoded.loss, list(decoded.outages), decoded.queue_bytes) == (0.1, 0.2, [(1.0, 2.0)], 3000)


def test_display_age_of_the_newest_frame_shown() -> None:
    captured, shown = np.array([0.0, 1.0, 0.5]), np.array([0.2, 1.2, 1.4])
    at_s, ages = display_ages(captured, shown, 0.0, 2.0)
    assert at_s[0] == pytest.approx(0.2)
    assert ages[0] == pytest.approx(0.2)
    assert ages[at_s < 1.199][-1] == pytest.approx(1.19, abs=0.02)
    # A frame shown after a newer one does not count.
    assert ages[-1] == pytest.approx(0.99, abs=0.02)


def test_oldest_frame_tolerates_half_a_second_after_a_fall() -> None:
    captured, shown = np.array([0.9, 1.0, 1.4, 1.6]), np.array([1.0, 1.45, 1.7, 1.65])
    assert oldest_s(captured, shown, 1.0) == pytest.approx(0.3)
    assert oldest_s(captured, shown, 5.0) == float("inf")


def test_trace_files_skip_licences(tmp_path: Path) -> None:
    for name in ("b/two.down", "b/COPYING", "a/one.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.name for path in trace_files([tmp_path, tmp_path / "b" / "two.down"])]
    assert found == ["one.json", "two.down", "two.down"]
    with pytest.raises(SourceError, match="does not exist"):
        trace_files([tmp_path / "c"])


def test_chart_has_every_system_and_the_capacity() -> None:
    shape, at_s = Shape(Trace.constant(80.0)), np.arange(0.0, 4.0, 0.01)
    runs = {name: Run({}, 0.0, Ages(at_s, at_s / 40)) for name in (*POLICIES, "oracle")}
    panel = chart(Link(shape, shape, 4.0, 0), runs, "80 kbit/s")
    right_axis = [line for line in panel.lines.values() if line.right]
    assert len(panel.lines) == len(runs) + 1
    assert len(right_axis) == 1
    assert right_axis[0].y == pytest.approx(80.0)


def test_score_is_the_relative_error() -> None:
    early, late = [(1.0, 9e9), (2.0, None)], [(6.0, 1.1e6), (7.0, 0.9e6), (8.0, 1.1e6)]
    assert score([*early, *late], 1.0)["error_p50"] == pytest.approx(0.1)
    assert score([(6.0, None)] * 3, 1.0)["error_p50"] == pytest.approx(1.0)


def test_oracle_sends_every_frame_on_a_fast_link_and_the_newest_on_a_slow_one() -> None:
    captured, shown = oracle(Shape(None, 0.03), 10.0)
    assert len(captured) == pytest.approx(300, abs=2)
    assert (shown - captured).max() == pytest.approx(0.03, abs=1e-6)
    captured, shown = oracle(Shape(Trace.constant(1.04)), 60.0)
    # 130 bytes a second: one frame a second, captured at most one frame interval before it was sent.
    assert np.diff(shown) == pytest.approx(1.0, abs=0.04)
    assert (shown - captured).max() < 1.05


@pytest.mark.skipif(not allowed(), reason="network namespaces need root and /dev/net/tun")
def test_two_hosts_communicate_with_the_delay() -> None:
    with TwoHosts(Shape(delay_s=0.15), Shape(delay_s=0.15)) as hosts:
        server = hosts.run(1, ["http.server", "8080", "--bind", ADDRESSES[1], "--directory", "/nowhere"])
        fetch = (
            "import time, urllib.request, urllib.error\n"
            "for _ in range(50):\n"
            "    began = time.monotonic()\n"
            "    try:\n"
            f"        urllib.request.urlopen('http://{ADDRESSES[1]}:8080/')\n"
            "    except urllib.error.HTTPError as error:\n"
            "        print(error.code, time.monotonic() - began)\n"
            "        break\n"
            "    except OSError:\n"
            "        time.sleep(0.1)\n"
        )
        try:
            code, seconds = hosts.run_code(0, fetch).rest(timeout_s=60).split()
        finally:
            server.kill()
        forward_bytes, reverse_bytes = hosts.offered_bytes()
    # Connecting takes a round trip, the request another one.
    assert 0 < forward_bytes < 2000
    assert 0 < reverse_bytes < 5000
    assert code == "404"
    assert 0.6 <= float(seconds) < 2.0


@pytest.mark.skipif(not allowed(), reason="network namespaces need root and /dev/net/tun")
def test_reachability_probe_returns_soon_after_an_outage() -> None:
    outage_s = 8.0
    shape = Shape(delay_s=0.02, outages=[(0.0, outage_s)])
    with TwoHosts(shape, shape) as hosts:
        program = (
            "import asyncio, time\n"
            "from common.io.addresses import Address\n"
            "from sender.link.transport.reachability_probe import reachability_probe\n"
            "started = time.time()\n"
            f"asyncio.run(reachability_probe(Address({ADDRESSES[1]!r}, 9)))\n"
            "print(started, time.time())\n"
        )
        started_s, answered_s = (float(word) for word in hosts.run_code(0, program).rest(timeout_s=60).split())
        recovered_s = hosts.began_at_s + outage_s
    # Nothing listens on the port; the refusal proves that the machine is reachable.
    assert answered_s > recovered_s
    assert answered_s - max(recovered_s, started_s) < 0.6
