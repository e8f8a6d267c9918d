"""Surfaces carried by the template beside those solved in the pose: `python -m tests.bench.surfaces`.

test crop ─ true labels ─ receiver ─┬─ carried, as in streams
                                    └─ solved in the pose, as of pictures

chamfer_surface_mm, p2s_surface_mm, normal_consistency, watertight   as in `tests.bench.quality`
self_intersecting_percent                     triangles that pass through others of the mesh
surface_p50_ms                                time to make one, on one thread
vertices                                      of a mesh
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import LabelFrame
from common.synthetic.dataset.presets import EVERYDAY, PRESETS
from common.synthetic.dataset.shards import CropDataset
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from tests.bench import crops, measures, report
from tests.bench.crops import TruePerson, Truth
from tests.bench.measures import Surface, centred
from tests.bench.perceived import CropSender

_BATCH = 8
SYSTEMS = {"carried": False, "solved in the pose": True}

Figures = dict[str, float]


def people(count: int, seed: int, preset: str) -> Iterator[TruePerson]:
    """The people of the test crops."""
    directory = crops.crop_set(count, seed, CropSender().size, preset)
    truth = Truth(BodyModel.load(), LabelSpace.load())
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        yield from truth.people(CropDataset([directory], "test").batch(numbers, crops.TRUTH_FIELDS))


def figures(reconstructor: Reconstructor, truth: TruePerson, *, still: bool) -> Figures:
    """Of the surface that true labels give."""
    frame = LabelFrame(0, "bench", 0.0, truth.camera, (truth.labels,))
    result = reconstructor.reconstruct(ReconstructionRequest("bench", "bench", frame, still=still))
    (person,) = result.people
    mesh = person.surface
    found = Surface(centred(person.joints_3d, mesh.vertices), mesh.faces)
    distances = measures.surface_distances(found, truth.surface)
    return {
        "chamfer_surface_mm": distances["chamfer_mm"],
        "p2s_surface_mm": distances["p2s_mm"],
        "normal_consistency": distances["normal_consistency"],
        "self_intersecting_percent": 100 * measures.self_intersecting_share(mesh.vertices, mesh.faces),
        "watertight": float(measures.is_watertight_piece(mesh.vertices, mesh.faces)),
        "vertices": float(len(mesh.vertices)),
        "surface_p50_ms": result.stages_ms["surface"],
    }


def summary(rows: Sequence[Figures]) -> Figures:
    """Means, and the median of the times."""
    median = float(np.median([row["surface_p50_ms"] for row in rows]))
    return measures.mean_by_key(rows) | {"surface_p50_ms": median}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("surfaces", __doc__, crops.SEED)
    report.add_amount(parser, "--count", "number of people", 1000, 120)
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default=EVERYDAY.name, help="data set preset (default: %(default)s)"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    reconstructor = Reconstructor.load()
    rows: dict[str, list[Figures]] = {name: [] for name in SYSTEMS}
    for truth in people(options.count, options.seed, options.preset):
        for name, still in SYSTEMS.items():
            rows[name].append(figures(reconstructor, truth, still=still))
    systems = {name: summary(each) for name, each in rows.items()}
    report.publish(options, systems, f"{options.count} {options.preset} people, true labels, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
