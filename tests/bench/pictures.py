"""Time from a picture to its people: `python -m tests.bench.pictures [PICTURE]...`.

Pictures pass a sender process and the engine as uploaded ones do, after one that is not counted: one at a time, and
several at once.  Without arguments the picture is a frame of the demo clip.  A column is a picture; the times of stages
are means over the runs in which it was alone.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from receiver.web.children.config import ChildrenConfig
from receiver.web.children.pictures import ChildPictures
from receiver.web.pictures import ReconstructedPicture
from tests.bench import report
from tests.support.demo_clip import demo_picture

_DEMO_FRAME = 40
_ALONE, _QUICK_ALONE = 20, 4
_TIMEOUT_S = 300.0

Figures = dict[str, float]


async def measure(pictures: dict[str, bytes], alone: int, at_once: int) -> dict[str, Figures]:
    """Figures of each picture, by its name."""
    engine = LocalEngine(Reconstructor.load())
    children = ChildPictures(engine, ChildrenConfig(picture_timeout=_TIMEOUT_S))
    try:
        await children.reconstruct(next(iter(pictures.values())))
        return {name: await _figures(children, picture, alone, at_once) for name, picture in pictures.items()}
    finally:
        await children.close()
        await engine.close()


@dataclass(slots=True)
class _Runs:
    """Times of one picture."""

    children: ChildPictures
    picture: bytes
    last: ReconstructedPicture | None = None
    stages_ms: dict[str, list[float]] = field(default_factory=dict)

    async def one(self) -> float:
        """Milliseconds of one run."""
        began_s = time.perf_counter()
        self.last = await self.children.reconstruct(self.picture)
        for stage, spent_ms in self.last.stages_ms.items():
            self.stages_ms.setdefault(stage, []).append(spent_ms)
        return (time.perf_counter() - began_s) * 1e3


async def _figures(children: ChildPictures, picture: bytes, alone: int, at_once: int) -> Figures:
    runs = _Runs(children, picture)
    alone_ms = [await runs.one() for _ in range(alone)]
    means = {f"{stage}_ms": float(np.mean(spent_ms)) for stage, spent_ms in runs.stages_ms.items()}
    rounds = [await asyncio.gather(*(runs.one() for _ in range(at_once))) for _ in range(max(alone // at_once, 1))]
    assert runs.last is not None
    return {
        "people": float(len(runs.last.people)),
        "label_bytes": float(runs.last.label_bytes),
        "alone_median_ms": float(np.median(alone_ms)),
        "alone_p95_ms": float(np.percentile(alone_ms, 95)),
        "at_once_median_ms": float(np.median(rounds)),
        "at_once_worst_ms": float(np.max(rounds)),
        **means,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("pictures", "Time uploaded pictures from the encoded image to the people in it.", 0)
    parser.add_argument("pictures", nargs="*", type=Path, help="images (default: a frame of the demo clip)")
    parser.add_argument("--at-once", type=int, default=4, help="pictures at the same time (default: 4)")
    options = parser.parse_args(arguments)

    def work() -> None:
        torch.set_num_threads(1)
        pictures = {path.name: path.read_bytes() for path in options.pictures} or {"demo": demo_picture(_DEMO_FRAME)}
        systems = asyncio.run(measure(pictures, _QUICK_ALONE if options.quick else _ALONE, options.at_once))
        print(f"{report.machine_line()}, one thread a process, {options.at_once} pictures at once\n")
        print(report.transposed(systems))
        report.write_json(options.json, "pictures", options.seed, systems)

    return report.run("pictures", work)


if __name__ == "__main__":
    sys.exit(main())
