"""Time per stage and frame: `python -m tests.bench.stages`.

The demo clip passes all stages of sender and receiver in one process, on one thread, with one person; a frame's age is
the sum of its stages, until its meshes are written.  `payload_bytes_median` is that of the codec's packets, each
acknowledged at once, `load_s` the time to load all networks.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import LabelFrame
from common.weights.manifest import model_hash
from receiver.config import PublishConfig
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from receiver.link.refusals import SessionOwner
from receiver.publish.session_directory import SessionDirectory
from sender.capture.source import CapturedFrame
from sender.importance import Importance
from tests.bench import report
from tests.bench.bytes.rates import unconstrained_rho
from tests.bench.measures import percentile
from tests.bench.perceived import FrameSender, demo_frames

QUICK_FRAMES = 60
# The first frames, with cold caches, are left out.
WARM_UP = 5


class OneProcess:
    """Sender and receiver in one process.

    Attributes:
        spent_ms: milliseconds per stage, one value for each frame that reached it.
        payloads: bytes of the packets.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._sender, self._reconstructor, self._importance = FrameSender(), Reconstructor.load(), Importance.load()
        self._encoder, self._decoder = FrameCodec(model_hash()), FrameCodec(model_hash())
        self.spent_ms: dict[str, list[float]] = {}
        self.payloads: list[int] = []

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began_s = time.perf_counter()
        yield
        self.spent_ms.setdefault(stage, []).append(1e3 * (time.perf_counter() - began_s))

    def run(self, frames: Iterable[CapturedFrame], out: SessionDirectory) -> None:
        writer = out.session("bench", SessionOwner.from_secret("", b""))
        for captured in frames:
            with self._timed("age"):
                with self._timed("perception"):
                    perceived = self._sender.stages.perceive(captured)
                with self._timed("semantics"):
                    labels = self._sender.stages.label(perceived)
                with self._timed("codec"):
                    labels = self._through_codec(labels)
                result = self._reconstructor.reconstruct(ReconstructionRequest("bench", "bench", labels))
                for stage, ms in result.stages_ms.items():
                    self.spent_ms.setdefault(stage, []).append(ms)
                with self._timed("publish"):
                    for person in result.people:
                        writer.write_surface(labels.sequence, person.surface)
                        writer.write_body(labels.sequence, person.body, self._reconstructor.skeleton)

    def _through_codec(self, labels: LabelFrame) -> LabelFrame:
        rho = unconstrained_rho(self._importance, labels.people[0]) if labels.people else {}
        payload = self._encoder.encode(labels, rho).payload
        self._encoder.acknowledge(labels.sequence)
        self.payloads.append(len(payload))
        return self._decoder.decode(payload, labels.sequence).frame


def in_one_process(limit: int | None) -> dict[str, float]:
    """Figures of the demo clip through all stages in one process."""
    frames, began_s = list(demo_frames(limit)), time.monotonic()
    process = OneProcess()
    loaded_s = time.monotonic() - began_s
    with tempfile.TemporaryDirectory() as out, SessionDirectory(PublishConfig(Path(out))) as directory:
        process.run(frames, directory)
    spent = {stage: values[min(WARM_UP, len(values) - 1) :] for stage, values in process.spent_ms.items()}
    ages = spent["age"]
    return {
        "frames": float(len(frames)),
        "fps": 1e3 * len(ages) / sum(ages),
        **{f"{stage}_p{share}_ms": percentile(own, share) for stage, own in spent.items() for share in (50, 95)},
        "payload_bytes_median": float(np.median(process.payloads)),
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
