"""How good the reconstruction is, on people that nobody trained on: `python -m tests.bench.quality`.

    test crop ─ perception ─ semantics ─ labels ─┬──────────────── receiver ─ labels
                                                 └─ codec ─ codec ─ receiver ─ codec
                              true labels ──────────────────────── receiver ─ truth_labels (the receiver's own error)
                              no labels but the place ──────────── receiver ─ mean_body    (what knowing nothing scores)

The crop is given; its camera is the whole camera.  `codec` is the first packet of a session at the ρ that default rate
control settles on when the link is never full.  The truth is the bare body: the test set's people wear colours, not
cloth.  All distances are taken with the middles of the hips as one, in the camera's axes.  Views (29, 30) are rendered
from front and side.
"""

import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.labels import concatenate
from common.synthetic.dataset.presets import EVERYDAY, PRESETS
from common.synthetic.dataset.shards import Batch, CropDataset
from common.weights.loader import model_hash
from sender.importance.importance import Importance
from tests.bench import crops, report
from tests.bench.crops import TruePerson, Truth
from tests.bench.measures import mean_by_key, percentile
from tests.bench.perceived import CropSender
from tests.bench.rates import through_key_frame, unconstrained_rho
from tests.bench.reconstruction_scores import Receiver, figures, views_of

COUNT, QUICK_COUNT = 1000, 120
CHUNK = 8
WORKERS = 2
SYSTEMS = ("labels", "codec", "truth_labels", "mean_body")
KEYS = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "pve_mm",
    "chamfer_surface_mm",
    "chamfer_body_mm",
    "p2s_surface_mm",
    "normal_consistency",
    "mask_iou",
    "depth_mm",
    "watertight",
    "view_mse",
    "view_ssim",
    "payload_bytes_median",
)
"""The columns of the table, in its order; the JSON has some more."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One image: system → figures, and whether the person is whole."""

    systems: dict[str, Figures]
    whole: bool


class Evaluation:
    """Both ends in process.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._sender, self._receiver = CropSender(), Receiver()
        self._space = LabelSpace.load()
        self._truth = Truth(BodyModel.load(), self._space)
        self._importance, self._model_hash = Importance.load(), model_hash()

    @property
    def size(self) -> int:
        """Pixels of a crop."""
        return self._sender.size

    def rows(self, batch: Batch) -> Iterator[Row]:
        """The images of a batch, one after the other."""
        perceived = self._sender.perceive(batch)
        for index, truth in enumerate(self._truth.people(batch)):
            labels, seen = perceived[index]
            coded, size = through_key_frame(labels, unconstrained_rho(self._importance, labels), self._model_hash)
            people = [labels, coded, truth.labels, self._mean_body(truth)]
            camera = crops.camera_of(float(batch["focal"][index]), self.size)
            found = self._receiver.reconstruct(people, camera)
            views = views_of(truth.mesh)
            scores = [figures(person, truth, views) for person in found]
            systems = dict(zip(SYSTEMS, scores, strict=True))
            systems["labels"] |= seen
            systems["codec"] |= seen | {"payload_bytes": float(size)}
            yield Row(systems, truth.whole)

    def _mean_body(self, truth: TruePerson) -> PersonLabels:
        """The mean person, upright, facing the camera, in the right place."""
        root = truth.labels.labels["root"]
        placed = self._space.decode(torch.from_numpy(concatenate({"root": root}))[None])
        upright = self._space.encode(replace(placed, rotations=torch.eye(3).expand_as(placed.rotations).clone()))
        return PersonLabels(0, 1.0, {"root": upright[0, : len(root)].numpy()})


_evaluation: Evaluation


def _start_worker() -> None:
    global _evaluation
    torch.set_num_threads(1)
    _evaluation = Evaluation()


def _evaluate(directories: Sequence[Path], indices: Sequence[int]) -> list[Row]:
    return list(_evaluation.rows(CropDataset(directories, "test").batch(indices)))


def evaluate(directory: Path, count: int) -> list[Row]:
    """All images of a data set in `WORKERS` processes, with progress on the terminal."""
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    rows: list[Row] = []
    began = told = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, _start_worker) as pool:
        for done in as_completed([pool.submit(_evaluate, [directory], chunk) for chunk in chunks]):
            rows += done.result()
            if time.monotonic() - told > 10 or len(rows) == count:
                told = time.monotonic()
                left_s = (told - began) / len(rows) * (count - len(rows))
                report.tell(f"{len(rows)}/{count} images, {left_s:.0f} s left")
    return rows


def summary(rows: Sequence[Row]) -> dict[str, Figures]:
    """System → means over the images (the payload's median and 95th percentile)."""
    return {system: _summary([row.systems[system] for row in rows]) for system in SYSTEMS}


def _summary(rows: list[Figures]) -> Figures:
    means = mean_by_key(rows)
    if means.pop("payload_bytes", None) is not None:
        sizes = [row["payload_bytes"] for row in rows]
        means |= {"payload_bytes_median": float(np.median(sizes)), "payload_bytes_p95": percentile(sizes, 95)}
    return means


def breakdown(rows: Sequence[Row]) -> dict[str, dict[str, Figures]]:
    """The summary of those who are seen whole, and of those cut off or hidden in part."""
    parts = {"whole": [row for row in rows if row.whole], "cut_off_or_occluded": [row for row in rows if not row.whole]}
    return {name: summary(part) for name, part in parts.items() if part}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("quality", "Measure the reconstruction on rendered test people.", crops.SEED)
    parser.add_argument("--count", type=int, help=f"images (default: {COUNT}, {QUICK_COUNT} with --quick)")
    parser.add_argument("--preset", choices=tuple(PRESETS), default=EVERYDAY.name, help="what kinds of pictures")
    options = parser.parse_args(arguments)
    count = options.count or (QUICK_COUNT if options.quick else COUNT)

    def work() -> None:
        # Loaded here only to fail early, in one line.
        size = Evaluation().size
        began = time.monotonic()
        rows = evaluate(crops.crop_set(count, options.seed, size, options.preset), count)
        systems, parts = summary(rows), breakdown(rows)
        share = sum(row.whole for row in rows) / len(rows)
        images = f"{count} {options.preset} test images (seed {options.seed})"
        print(f"{images}, {report.machine_line()}, {time.monotonic() - began:.0f} s\n")
        print(report.table(systems, KEYS))
        for name, part in parts.items():
            print(f"\n{name} ({share if name == 'whole' else 1 - share:.0%})\n")
            print(report.table(part, KEYS))
        worse = {key: systems["codec"][key] / systems["labels"][key] - 1 for key in KEYS[:5]}
        print("\ncodec against labels: " + ", ".join(f"{key} {value:+.1%}" for key, value in worse.items()))
        more = {"images": count, "preset": options.preset, "whole_share": share, "breakdown": parts}
        report.write_json(options.json, "quality", options.seed, systems, **more)

    return report.run("quality", work)


if __name__ == "__main__":
    sys.exit(main())
