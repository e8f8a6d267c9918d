"""The network laboratory: traces, pipes, and hosts in network namespaces."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netlab.pipe import Pipe, Shape
from tests.netlab.relay import Nat
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


@given(trace=_traces, at_s=st.floats(0, 100), size=st.floats(1, 1e6))
def test_time_of_inverts_carried(trace: Trace, at_s: float, size: float) -> None:
    later_s = trace.time_of(trace.carried(at_s) + size)
    assert trace.carried(later_s) - trace.carried(at_s) == pytest.approx(size, rel=1e-6, abs=1e-3)


def test_packet_is_queued_and_then_delayed_or_lost() -> None:
    # 8 kbit/s: one packet of 1,000 bytes a second.
    pipe = Pipe(Shape(Trace.constant(8.0), delay_s=0.25))
    assert [pipe.offer(1000, 0.0) for _ in range(3)] == pytest.approx([1.25, 2.25, 3.25])
    assert pipe.offer(1000, 10.0) == pytest.approx(11.25)
    full = Pipe(Shape(Trace.constant(8.0), queue_bytes=2500))
    assert [full.offer(1000, 0.0) is None for _ in range(4)] == [False, False, True, True]
    assert full.offer(1000, 1.0) is not None
    outage = Pipe(Shape(None, delay_s=0.1, outages=[(1.0, 2.0)]))
    arrivals = [outage.offer(100, at_s) for at_s in (0.5, 0.95, 1.5, 2.0)]
    assert arrivals == [pytest.approx(0.6), None, None, pytest.approx(2.1)]


def test_router_that_forgets_a_port_lets_nothing_pass_to_it() -> None:
    def packet(source: int, target: int) -> bytes:
        return bytes([0x45, *bytes(8), 17, *bytes(10)]) + struct.pack(">HHHH", source, target, 8, 0xABCD)

    def ports(translated: bytes | None) -> tuple[int, ...] | None:
        return None if translated is None else struct.unpack_from(">HHHH", translated, 20)

    nat = Nat([5.0])
    assert ports(nat.translated(packet(4000, 443), 0, 0.0)) == (4000, 443, 8, 0)
    assert ports(nat.translated(packet(443, 4000), 1, 1.0)) == (443, 4000, 8, 0)
    assert nat.translated(packet(443, 4000), 1, 6.0) is None
    found = ports(nat.translated(packet(4000, 443), 0, 6.0))
    assert found is not None and found[0] != 4000
    assert ports(nat.translated(packet(443, found[0]), 1, 6.0)) == (443, 4000, 8, 0)
    assert Nat([]).translated(packet(4000, 443), 0, 0.0) == packet(4000, 443)
