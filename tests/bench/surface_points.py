"""The surface stage on exact points: `python -m tests.bench.surface_points`.

Bodies of the test split in sampled poses; the true surface is their posed skin with the eyes, without the inside of the
mouth.  A system is a grid resolution; the stage gets the vertices of the true surface with their normals and areas.
`ms` is processor time of the thread, median over the bodies; `hand_mm` is the mean distance from the true hands to the
mesh; `watertight` is the share of closed single pieces; `sharp_edge_share` is the share of edges that are bent by more
than 100 degrees, which spikes and folds are.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh

from common.arrays import BoolArray, Float64Array, FloatArray, Int32Array, IntArray
from common.body.anatomy import REGION_INDEX
from common.body.connectivity import vertex_components
from common.body.model import BodyModel
from common.body.vertex_normals import VertexNormals
from common.synthetic.dataset.split import SEED_RANGES
from common.weights.devices import to_numpy
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import SurfaceStage
from receiver.train.bodies import sample_people
from tests.bench import report
from tests.bench.measures import Surface, is_watertight_piece, mean_by_key, surface_distances

COUNT, QUICK_COUNT = 64, 12
RESOLUTIONS = (96, 128, 160, 192)
_SHARP_RAD = np.radians(100)
# Separate components of the skin's triangles: an eye has 72 vertices, the tongue, which no one sees, 226.
_TONGUE_VERTICES = 200


@dataclass(frozen=True)
class TrueBodies:
    """Posed bodies.

    Args:
        vertices: (B, V, 3) of the true surface.
        faces: (F, 3).
        hands: (F,) whether a face is part of a hand.
    """

    vertices: FloatArray
    faces: Int32Array
    hands: BoolArray


def true_bodies(count: int, seed: int) -> TrueBodies:
    """`count` bodies of the test split."""
    body = BodyModel.load()
    kept, faces = outer_surface(body)
    with torch.inference_mode():
        vertices = body(sample_people("test", SEED_RANGES["test"].start + seed, count)).vertices
    region = to_numpy(body.vertex_region)[kept]
    hands = np.isin(region[faces[:, 0]], [REGION_INDEX["hand.L"], REGION_INDEX["hand.R"]])
    return TrueBodies(to_numpy(vertices)[:, kept], faces, hands)


def outer_surface(body: BodyModel) -> tuple[IntArray, Int32Array]:
    """Indices of the vertices of skin and eyes, and their faces (F, 3), renumbered."""
    faces = to_numpy(body.skin_faces)
    count, component = vertex_components(faces, len(body.vertex_region))
    used = np.unique(faces)
    sizes = np.bincount(component[used], minlength=count)
    outer = (sizes == sizes.max()) | (sizes < _TONGUE_VERTICES)
    kept = used[outer[component[used]]]
    renumbered = np.full(len(body.vertex_region), -1, np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    faces = renumbered[faces]
    return kept, np.ascontiguousarray(faces[(faces >= 0).all(axis=1)])


def scores(stage: SurfaceStage, bodies: TrueBodies, index: int, resolution: int) -> dict[str, float]:
    """The figures of one body."""
    vertices = bodies.vertices[index]
    normals, areas = VertexNormals(bodies.faces, len(vertices)).with_areas(vertices)
    hands = vertices[bodies.faces[bodies.hands]].mean(axis=1).astype(np.float64)
    began_s = time.thread_time()
    mesh = stage.reconstruct(vertices, normals, areas, resolution=resolution)
    elapsed_ms = 1e3 * (time.thread_time() - began_s)
    return {"ms": elapsed_ms, **_scores(mesh, Surface(vertices, bodies.faces), hands)}


def _scores(mesh: SurfaceMesh, truth: Surface, hands: Float64Array) -> dict[str, float]:
    found = Surface(mesh.vertices, mesh.faces)
    angles = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).face_adjacency_angles
    return {
        **surface_distances(found, truth),
        "hand_mm": 1e3 * float(found.nearest(hands)[0].mean()),
        "sharp_edge_share": float((angles > _SHARP_RAD).mean()),
        "watertight": float(is_watertight_piece(mesh.vertices, mesh.faces)),
        "vertices_mean": float(len(mesh.vertices)),
    }


def evaluate(bodies: TrueBodies) -> dict[str, dict[str, float]]:
    """System → means over the bodies (of `ms` the median)."""
    stage, rows = SurfaceStage(), {}
    for resolution in RESOLUTIONS:
        found = [scores(stage, bodies, index, resolution) for index in range(len(bodies.vertices))]
        worst = max(row["chamfer_mm"] for row in found)
        median_ms = float(np.median([row["ms"] for row in found]))
        rows[f"grid {resolution}"] = mean_by_key(found) | {"ms": median_ms, "worst_chamfer_mm": worst}
        report.progress(f"resolution {resolution} done")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("surface_points", "Measure the surface stage on points of known bodies.", 0)
    options = parser.parse_args(arguments)
    count = QUICK_COUNT if options.quick else COUNT

    def work() -> None:
        systems = evaluate(true_bodies(count, options.seed))
        print(f"{count} bodies of the test split (seed {options.seed}), {report.machine_line()}\n")
        print(report.table(systems))
        report.write_json(options.json, "surface_points", options.seed, systems, bodies=count)

    return report.run("surface_points", work)


if __name__ == "__main__":
    sys.exit(main())
