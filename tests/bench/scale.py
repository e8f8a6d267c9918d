"""How many sessions an engine carries: `python -m tests.bench.scale`.

Sessions of one person each send synthetic label motion to the engine of this process, without link and without output;
what changes rarely in a stream, such as clothes, stays the same.  Each session always has one frame in the engine:
`fps` counts frames of all sessions, `load_p95_ms` is the 95th percentile of the time from a request to its result, and
`queue_p50_ms` the median of the part of it that is spent waiting.

`--sessions 1 8 64` measures so many sessions in turn; `--device cuda` on a GPU.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from common.frames import LabelFrame
from common.labels import FAST_GROUPS
from common.weights.config import DeviceConfig
from common.weights.devices import resolve_device
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from tests.bench import report
from tests.bench.measures import percentile
from tests.support.label_motion import clip

SECONDS, QUICK_SECONDS = 20.0, 6.0
_CLIP_FRAMES = 60
_WARM_UP_S = 2.0


def stream(seed: int) -> list[LabelFrame]:
    """A clip of one person whose slow labels stay as they are in the first frame."""
    frames = clip(_CLIP_FRAMES, seed)
    slow = {name: row for name, row in frames[0].people[0].labels.items() if name not in FAST_GROUPS}
    return [
        replace(frame, people=(replace(frame.people[0], labels={**frame.people[0].labels, **slow}),))
        for frame in frames
    ]


async def measure(
    reconstructor: Reconstructor, clips: Sequence[Sequence[LabelFrame]], seconds: float
) -> dict[str, float]:
    """Every session, one a clip, has one frame in the engine at all times."""
    engine = LocalEngine(reconstructor)
    latencies_ms, queue_ms = list[float](), list[float]()
    began_s = time.perf_counter() + _WARM_UP_S

    async def session(name: int) -> None:
        number = name
        while (sent_s := time.perf_counter()) < began_s + seconds:
            request = ReconstructionRequest(name, name, clips[name][number % _CLIP_FRAMES])
            result = await engine.reconstruct(request)
            if sent_s >= began_s:
                latencies_ms.append((time.perf_counter() - sent_s) * 1e3)
                queue_ms.append(result.stages_ms["queue"])
            number += 1

    await asyncio.gather(*(session(name) for name in range(len(clips))))
    fps = len(latencies_ms) / (time.perf_counter() - began_s)
    await engine.close()
    return {"fps": fps, "load_p95_ms": percentile(latencies_ms, 95), "queue_p50_ms": percentile(queue_ms, 50)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("scale", __doc__, 1)
    sessions = report.at_least(1)
    parser.add_argument("--sessions", type=sessions, nargs="+", default=[8], metavar="N", help="default: 8")
    parser.add_argument("--device", type=DeviceConfig, default=DeviceConfig("cpu"), help="as --device of the receiver")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    device = resolve_device(options.device.device)
    seconds = QUICK_SECONDS if options.quick else SECONDS
    reconstructor, systems = Reconstructor.load(device=device), dict[str, dict[str, float]]()
    for count in options.sessions:
        clips = [stream(options.seed + session) for session in range(count)]
        name = f"{count} sessions on {device}"
        systems[name] = asyncio.run(measure(reconstructor, clips, seconds))
        report.progress(f"{name}: {systems[name]}")
    report.publish(options, systems, f"sessions of one person, {seconds:g} s each")


if __name__ == "__main__":
    sys.exit(main())
