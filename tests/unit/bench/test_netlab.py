"""The network laboratory: traces, pipes, and hosts in network namespaces."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from common.codec import frame_codec
from common.wire import convert, frame_messages
from sender.link.frame_queue import FrameQueue, Resumption
from tests.bench import measures
from tests.bench.bytes.wire import FPS, Packets, figures
from tests.bench.campaigns.campaign import NumberedPart
from tests.bench.campaigns.packets import SHARES, Fuzzer, table
from tests.bench.campaigns.sessions import run
from tests.bench.measures import Surface
from tests.netlab.hostile import fuzz
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


def test_bytes_are_counted_by_direction_and_divided_by_the_frames_of_an_interval(tmp_path: Path) -> None:
    log = tmp_path / "packets.jsonl"
    log.write_text("")
    assert np.array_equal(Packets.read(log).size, [])
    rows = [(1000.0 + (number + 0.5) / FPS, True, 120) for number in range(30)]
    rows += [(1000.0 + (number + 0.7) / FPS, False, 180) for number in range(1, 30, 2)]
    # A packet train in the second interval, and packets before and after the time counted.
    rows += [(1000.0 + 15 / FPS, True, 9000), (999.9, True, 50), (1001.1, False, 50)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = figures(Packets.read(log), 1000.0, 3)
    medians = [found[f"{name}_bytes_median"] for name in ("wire", "back", "both")]
    assert medians == pytest.approx([120, 90, 210])
    assert [found[name] for name in ("wire_bytes_mean", "back_bytes_mean")] == pytest.approx([120 + 300, 90])


def sphere(radius: float = 1.0, centre: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    ball: trimesh.Trimesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    ball.apply_translation(centre)
    return ball


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    return Surface(mesh.vertices, mesh.faces)


def plane(height: float, size: float = 10.0, cells: int = 20) -> Surface:
    """A square grid at a height; planes directly above each other have no border effects."""
    x, y = np.meshgrid(np.linspace(0, size, cells + 1), np.linspace(0, size, cells + 1), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], 1)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    corners = np.stack([first, first + 1, first + cells + 1, first + cells + 2], 1)
    return Surface(vertices, np.concatenate([corners[:, [0, 2, 1]], corners[:, [1, 2, 3]]]))


def test_procrustes_inverts_a_similarity_and_does_not_mirror() -> None:
    truth = np.random.default_rng(1).normal(size=(17, 3))
    turned = 0.7 * truth @ Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix().T + [1.0, -2.0, 5.0]
    np.testing.assert_allclose(measures.procrustes(turned, truth), truth, atol=1e-10)
    assert measures.mean_distance_mm(measures.procrustes(truth * [-1, 1, 1], truth), truth) > 100


def test_distances_are_in_millimetres_and_centred_is_independent_of_position() -> None:
    assert measures.mean_distance_mm(np.zeros((5, 3)), np.tile([0.003, 0.0, 0.004], (5, 1))) == pytest.approx(5)
    keypoints = np.random.default_rng(3).normal(size=(17, 3))
    points = np.random.default_rng(4).normal(size=(50, 3))
    np.testing.assert_allclose(measures.centred(keypoints + 3, points + 3), measures.centred(keypoints, points))


def test_surface_distances_of_shifted_planes_concentric_spheres_and_a_mesh_to_itself() -> None:
    planes = measures.surface_distances(plane(0.0), plane(0.25))
    assert (planes["chamfer_mm"], planes["p2s_mm"]) == pytest.approx((250, 250), rel=1e-6)
    assert planes["normal_consistency"] == pytest.approx(1)
    ball = surface_of(sphere())
    spheres = measures.surface_distances(ball, surface_of(sphere(1.1)))
    assert spheres["chamfer_mm"] == pytest.approx(100, rel=0.01)
    assert spheres["normal_consistency"] > 0.99
    assert measures.surface_distances(ball, ball, samples=500)["chamfer_mm"] < 1e-3, "no sampling floor"


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    return Fuzzer()


def test_inputs_that_were_found_by_coverage_are_refused_or_right(fuzzer: Fuzzer) -> None:
    assert fuzz.CORPUS.stat().st_size < 40_000
    assert fuzzer.taken.keys() == fuzz.TARGETS.keys()
    assert all(verdicts[taken] for verdicts in fuzzer.taken.values() for taken in (True, False))


def test_mutations_are_refused_or_right_and_some_of_each_are_decoded(fuzzer: Fuzzer) -> None:
    line = fuzzer.run(NumberedPart(1, 0, 3000))
    assert not line["failure"]
    figures = table([line, line])
    assert figures["all"]["inputs"] == 2 * line["inputs"] > 5900
    assert figures["packets"]["taken_share"] < 0.01 and figures["packets with right checks"]["taken_share"] > 0.1
    assert all(figures[name]["taken_share"] > 0.05 for name in SHARES if "messages" in name or "datagrams" in name)


@pytest.mark.parametrize(
    ("target", "module", "check", "instead"),
    [
        ("packets", frame_codec, "_check_content", lambda _: None),
        ("messages of senders", convert, "require", lambda *_: None),
        ("messages of receivers", convert, "printable", lambda text, _: text),
        ("datagrams of receivers", frame_messages, "require_times_us", lambda *_: None),
    ],
)
def test_missing_check_is_found(
    target: str, module: object, check: str, instead: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, check, instead)
    decoder = fuzz.TARGETS[target]()
    with pytest.raises((AssertionError, ValueError)):
        for data in fuzz.of_target(fuzz.read_corpus())[target]:
            decoder.take(data)


def test_link_keeps_its_promises() -> None:
    line = run(NumberedPart(1, 0, 6))
    assert not line["failure"] and line["steps"] > 60
    assert line["seen"]["acknowledged"] > 0 and line["seen"]["quic"] >= 6


def test_frame_that_is_taken_for_delivered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = FrameQueue.resume

    async def resume(queue: FrameQueue, next_sequence: int) -> Resumption:
        return await right(queue, next_sequence + 1)

    monkeypatch.setattr(FrameQueue, "resume", resume)
    assert "were acknowledged, but never handled" in run(NumberedPart(1, 0, 30))["failure"]
