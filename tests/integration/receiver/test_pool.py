"""The pool on Ray Serve: the same meshes as the local engine, a replica that is killed, what a receiver says.

Ray starts once for the module, with two replicas.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import LabelFrame
from common.recording.format import RecordedFrame
from common.recording.writer import RecordingWriter
from common.texture.atlas import TILES, encode
from common.weights.manifest import model_hash
from receiver.__main__ import main
from receiver.config import EngineConfig, SurfaceConfig
from receiver.engine.cluster import RayPool, open_pool, require_ray
from receiver.engine.engine import PersonAppearance, ReconstructionRequest
from receiver.engine.pool import PoolEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.engine.replica import ReplicaSettings
from receiver.metrics import ReceiverMetrics
from receiver.outfits.mixture import PLAIN
from receiver.texture.received_texture import ReceivedTexture
from tests.support.motion.label_motion import FINE_RHO, clip
from tests.support.receiver.recordings import FACTS

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs the extra ray", allow_module_level=True)
# Ray's own: its sockets are closed by its processes, and it uses what Python deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)

SETTINGS = ReplicaSettings(SurfaceConfig(), "cpu", threads=1)
# Half a core each: Ray reserves cores, and the machine of a test may have one.
CONFIG = EngineConfig(engine="ray", replicas="2", replica_cpus=0.5)


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    with open_pool(CONFIG, SETTINGS) as opened:
        yield opened


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a tree of dataclasses, tuples and mappings, with where it is."""
    if is_dataclass(value):
        for each in fields(value):
            yield from leaves(getattr(value, each.name), f"{path}.{each.name}")
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from leaves(each, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{path}[{key!r}]")
    else:
        yield path, value


@pytest.mark.slow
async def test_meshes_of_single_people_are_those_of_the_local_engine_bit_for_bit(pool: RayPool) -> None:
    rng = np.random.default_rng(5)
    atlas = rng.integers(0, 256, (ATLAS_SIZE, ATLAS_SIZE, 3), np.uint8)
    data = encode(TILES[0], atlas, rng.random((ATLAS_SIZE, ATLAS_SIZE)) < 0.5)
    texture = ReceivedTexture().with_tile(TILES[0], data)
    local, engine = Reconstructor.load(), PoolEngine(pool, batch_people=1)
    await engine.start()
    extras: list[dict[str, Any]] = [
        {},
        {"appearance": {0: PersonAppearance(texture)}},
        {"appearance": {0: PersonAppearance(texture, worn=PLAIN)}},
    ]
    for frame, more in zip(clip(3, seed=7), extras, strict=True):
        request = ReconstructionRequest("account", "session", frame, **more)
        result = await engine.reconstruct(request)
        expected = dict(leaves(local.reconstruct(request).people))
        found = dict(leaves(result.people))
        assert found.keys() == expected.keys() and len(found) > 20
        for path, value in expected.items():
            np.testing.assert_array_equal(found[path], value, err_msg=path)
        assert result.stages_ms.keys() == {"queue", "decode", "diffusion", "body", "surface"}
    await engine.close()


@pytest.mark.slow
async def test_killed_replica_costs_a_retry_and_is_started_again(pool: RayPool) -> None:
    metrics = ReceiverMetrics()
    engine = PoolEngine(pool, batch_people=2, observer=metrics)
    await engine.start()
    frames = clip(12, seed=3)
    tasks = [asyncio.ensure_future(engine.reconstruct(ReconstructionRequest("a", "a", frame))) for frame in frames]
    # Replicas have two batches each: when one is done, others are certainly in hand, not on their way.
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    before = replica_processes()
    assert before
    for process in before:
        os.kill(process, signal.SIGKILL)
    results = await asyncio.gather(*tasks)
    assert all(len(result.people) == 1 for result in results)
    assert (metrics.registry.get_sample_value("bodywire_receiver_engine_retries_total") or 0) > 0
    assert before.isdisjoint(replica_processes())
    await engine.close()


@pytest.mark.slow
def test_ray_adds_nothing_to_the_log_of_the_receiver(pool: RayPool) -> None:
    assert not [name for name in vars(logging.makeLogRecord({})) if "ray" in name]


def replica_processes() -> set[int]:
    """Children of the Ray node that this process has started, by the titles that Serve gives them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if (
                path.read_bytes().startswith(b"ray::ServeReplica")
                and parent(parent(int(path.parent.name))) == os.getpid()
            ):
                found.add(int(path.parent.name))
    return found


def parent(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))


def record(path: Path, frames: Sequence[LabelFrame]) -> None:
    encoder = FrameCodec(model_hash())
    writer = RecordingWriter(path, replace(FACTS, codec=CODEC_VERSION, model=model_hash().hex()))
    for frame in frames:
        encoder.acknowledge(frame.sequence - 1)
        encoded = encoder.encode(frame, FINE_RHO)
        captured_us = round(frame.captured_at * 1e6)
        recorded = RecordedFrame(frame.sequence, captured_us, encoded.key, encoded.payload)
        writer.add_frame(recorded, entry_point=encoded.key)
    writer.close()


async def run_receiver(*flags: str) -> tuple[int | None, str]:
    """Exit code and stderr of a receiver."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *flags, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(120):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


@pytest.mark.slow
async def test_receivers_use_the_pool_of_a_cluster(pool: RayPool, tmp_path: Path) -> None:
    record(tmp_path / "clip.bw", clip(4, seed=11))
    join = ("--engine", f"ray:{require_ray().get_runtime_context().gcs_address}")
    replay = ("--replay", str(tmp_path / "clip.bw"), "--speed", "max", "--no-page")
    local, pooled, other = await asyncio.gather(
        run_receiver(*replay, "--out", str(tmp_path / "local")),
        run_receiver(*replay, "--out", str(tmp_path / "pool"), *join),
        run_receiver(*replay, "--out", str(tmp_path / "other"), *join, "--grid-resolution", "64"),
    )
    assert local[0] == pooled[0] == 0, local[1] + pooled[1]
    meshes = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "meshes").iterdir()} for name in ("local", "pool")
    ]
    assert len([name for name in meshes[0] if name[:6].isdecimal()]) == 8 and meshes[0] == meshes[1]
    assert other[0] == 2
    assert "has other networks or options" in other[1] and "Traceback" not in other[1]


def test_cluster_that_does_not_answer_is_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = ["--engine", f"ray:127.0.0.1:{port}", "--out", str(tmp_path), "--listen", "127.0.0.1:0", "--no-page"]
    assert main(flags) == 4
    (error,) = (line for line in capfd.readouterr().err.splitlines() if "loading networks …" not in line)
    assert error.startswith(f"receiver: no Ray cluster answers at 127.0.0.1:{port}")
