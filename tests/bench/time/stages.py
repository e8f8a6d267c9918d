"""Time per stage and frame: `python -m tests.bench.stages`.

The demo clip passes all stages of sender and receiver in one process, on one thread, with one person; a frame's age is
the sum of its stages.  `payload_bytes_median` is that of the codec's packets, `load_s` the time to load all networks.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import LabelFrame
from common.weights.manifest import model_hash
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from receiver.link.auth.ownership import SessionOwner
from receiver.publish.config import PublishConfig
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_writer import SessionWriter
from sender.capture.source import CapturedFrame
from sender.importance.importance import Importance
from tests.bench import report
from tests.bench.bytes.rates import unconstrained_rho
from tests.bench.measures import percentile
from tests.bench.perceived import FrameSender, demo_frames

QUICK_FRAMES = 60
# The first frames, with cold caches, are left out.
WARM_UP = 5

Figures = dict[str, float]


@dataclass
class Stopwatch:
    """Milliseconds per stage, one value for each frame that reached it."""

    spent_ms: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.record(stage, 1e3 * (time.perf_counter() - began))

    def record(self, stage: str, ms: float) -> None:
        self.spent_ms.setdefault(stage, []).append(ms)

    def figures(self) -> Figures:
        """`<stage>_p50_ms` and `<stage>_p95_ms`."""
        figures: Figures = {}
        for stage, values in self.spent_ms.items():
            figures |= {f"{stage}_p50_ms": percentile(values, 50), f"{stage}_p95_ms": percentile(values, 95)}
        return figures


class OneProcess:
    """Sender and receiver in one process.

    Args:
        out: directory of the meshes.
        watch: records the time of each stage; `age` is the time from captured frame to written meshes.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, out: SessionDirectory, watch: Stopwatch) -> None:
        self._watch = watch
        self._sender = FrameSender()
        self._reconstructor = Reconstructor.load()
        self._writer: SessionWriter = out.session("bench", SessionOwner.from_secret("", b""))
        self._importance = Importance.load()
        networks = model_hash()
        self._encoder, self._decoder = FrameCodec(networks), FrameCodec(networks)

    def run(self, frames: Sequence[CapturedFrame]) -> None:
        for captured in frames:
            with self._watch.time("age"):
                with self._watch.time("perception"):
                    perceived = self._sender.stages.perceive(captured)
                with self._watch.time("semantics"):
                    labels = self._sender.stages.label(perceived)
                self._receive(self._through_codec(labels))

    def _through_codec(self, labels: LabelFrame) -> LabelFrame:
        rho = unconstrained_rho(self._importance, labels.people[0]) if labels.people else {}
        with self._watch.time("codec"):
            encoded = self._encoder.encode(labels, rho)
            decoded = self._decoder.decode(encoded.payload, labels.sequence)
            self._encoder.acknowledge(labels.sequence)
        self._watch.record("payload", len(encoded.payload))
        return decoded.frame

    def _receive(self, labels: LabelFrame) -> None:
        result = self._reconstructor.reconstruct(ReconstructionRequest("bench", "bench", labels))
        for stage, ms in result.stages_ms.items():
            self._watch.record(stage, ms)
        with self._watch.time("publish"):
            records = []
            for person in result.people:
                surface = self._writer.write_surface(labels.sequence, person.surface)
                body = self._writer.write_body(labels.sequence, person.body, self._reconstructor.skeleton)
                identity, score = person.labels.identity, person.labels.score
                records.append(PersonRecord(identity, score, person.keypoints_2d, person.joints_3d, surface, body))
            line = FrameRecord(
                labels.sequence, labels.source, labels.captured_at, None, None, {}, people=tuple(records)
            )
            self._writer.append(line)


def in_one_process(limit: int | None) -> Figures:
    """Figures of the demo clip through all stages in one process."""
    watch = Stopwatch()
    frames = list(demo_frames(limit))
    with tempfile.TemporaryDirectory() as out, SessionDirectory(PublishConfig(Path(out))) as directory:
        began = time.monotonic()
        process = OneProcess(directory, watch)
        loaded_s = time.monotonic() - began
        process.run(frames)
    payload = watch.spent_ms.pop("payload")
    for values in watch.spent_ms.values():
        del values[: min(WARM_UP, len(values) - 1)]
    ages = watch.spent_ms["age"]
    return {
        "frames": float(len(frames)),
        "fps": 1e3 * len(ages) / sum(ages),
        **watch.figures(),
        "payload_bytes_median": float(np.median(payload)),
        "load_s": loaded_s,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("stages", __doc__, 0)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    systems = {"one process": in_one_process(QUICK_FRAMES if options.quick else None)}
    report.publish(options, systems, "demo clip, one thread")


if __name__ == "__main__":
    sys.exit(main())
