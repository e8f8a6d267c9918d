"""What a session amounted to: a table, a contact sheet of input beside output, and a verdict.

    python -m receiver.report.summary DIR --clip CLIP

reads what a receiver published into DIR and the clip that was sent, checks that every frame arrived with meshes that
are one watertight piece of human size, prints a table and writes DIR/contact-sheet.png.  Exit codes: 0 all is well,
1 a check failed, 2 usage, 3 the clip cannot be read, 5 the contact sheet cannot be written.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from common.errors import BodywireError, UsageError, exit_code_of
from receiver.mesh.mesh_files import read_mesh
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight, signed_volume_m3
from receiver.report.contact_sheet import read_clip, write_contact_sheet

HUMAN_SIZE_M = (0.4, 2.6)

Line = dict[str, Any]


class PublishedFramesError(BodywireError):
    """Frames are missing, or a mesh is not what it should be."""


@dataclass(frozen=True, slots=True)
class MeshCheck:
    """What is known about one mesh file.

    Args:
        path: relative to the directory.
        watertight: closed, wound consistently, in one piece, its volume positive.
        size_m: the longest side of its box, metres; 0 if it cannot be read.
        height_m: its extent along y.
    """

    path: str
    watertight: bool
    size_m: float
    height_m: float

    @property
    def human_size(self) -> bool:
        """Whether a person could be that large."""
        return HUMAN_SIZE_M[0] <= self.size_m <= HUMAN_SIZE_M[1]


def read_frames(directory: Path) -> list[Line]:
    """The lines of the last session in a directory, in order of their sequence numbers.

    Raises:
        UsageError: there is no `frames.jsonl`, or it holds something else.
    """
    path = directory / "frames.jsonl"
    try:
        lines: list[Line] = [json.loads(line) for line in path.read_text().splitlines()]
        last = max((line["session"] for line in lines), default=0)
        return sorted((line for line in lines if line["session"] == last), key=lambda line: int(line["seq"]))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the directory that a receiver published into") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def check_mesh(directory: Path, relative: str) -> MeshCheck:
    """Read a mesh and see whether it is one watertight piece, and how large."""
    try:
        mesh = read_mesh(directory / relative)
    except ValueError:
        return MeshCheck(relative, False, 0.0, 0.0)
    extent = np.ptp(mesh.vertices, axis=0)
    return MeshCheck(relative, _is_one_closed_piece(mesh), float(extent.max()), float(extent[1]))


def _is_one_closed_piece(mesh: SurfaceMesh) -> bool:
    start, end, count = mesh.faces.ravel(), mesh.faces[:, [1, 2, 0]].ravel(), len(mesh.vertices)
    edges = scipy.sparse.coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    pieces, _ = connected_components(edges, directed=False)
    closed = is_watertight(mesh.faces, count) and signed_volume_m3(mesh.vertices, mesh.faces) > 0.0
    return closed and pieces == 1


def check_meshes(directory: Path, frames: Sequence[Line], kind: str) -> list[MeshCheck]:
    """Every mesh of a kind, `surface` or `body`, that the lines name."""
    paths = [person[kind] for frame in frames for person in frame["people"]]
    return [check_mesh(directory, path) for path in paths if path is not None]


def frames_per_second(frames: Sequence[Line]) -> float:
    """How fast meshes came to be there; NaN where the ages are unknown or there is one frame only."""
    ready = [frame["captured_at"] + frame["age_ms"] / 1000.0 for frame in frames if frame["age_ms"] is not None]
    span_s = max(ready) - min(ready) if len(ready) > 1 else 0.0
    return (len(ready) - 1) / span_s if span_s > 0.0 else float("nan")


def complaints(
    frames: Sequence[Line], expected: int, surfaces: Sequence[MeshCheck], bodies: Sequence[MeshCheck]
) -> list[str]:
    """What is wrong, a line each; empty when all is well."""
    found = []
    missing = sorted(set(range(expected)) - {int(frame["seq"]) for frame in frames})
    if missing:
        found.append(f"{len(missing)} of {expected} frames are missing, the first is {missing[0]}")
    empty = [f["seq"] for f in frames if not any(p["surface"] and p["body"] for p in f["people"])]
    if empty:
        found.append(f"{len(empty)} frames have nobody with surface and body, the first is {empty[0]}")
    open_meshes = [mesh.path for mesh in (*surfaces, *bodies) if not mesh.watertight]
    if open_meshes:
        found.append(f"{len(open_meshes)} meshes are not one watertight piece, the first is {open_meshes[0]}")
    odd = [mesh for mesh in (*surfaces, *bodies) if mesh.watertight and not mesh.human_size]
    if odd:
        found.append(f"{len(odd)} meshes are not of human size, the first is {odd[0].path} ({odd[0].size_m:.2f} m)")
    return found


def table(frames: Sequence[Line], surfaces: Sequence[MeshCheck], bodies: Sequence[MeshCheck]) -> str:
    """The summary, two columns of text."""
    total_bytes = [frame["bytes"]["total"] for frame in frames]
    ages = [frame["age_ms"] for frame in frames if frame["age_ms"] is not None]
    rows = [
        ("frames", f"{len(frames)}"),
        ("frames a second", f"{frames_per_second(frames):.1f}"),
        ("bytes a frame, median", f"{_percentile(total_bytes, 50):.0f}"),
        ("bytes a frame, p95", f"{_percentile(total_bytes, 95):.0f}"),
        ("age p50, ms", f"{_percentile(ages, 50):.0f}"),
        ("age p95, ms", f"{_percentile(ages, 95):.0f}"),
        ("watertight surfaces", _share(surfaces)),
        ("watertight bodies", _share(bodies)),
        ("surface height, m", _range([mesh.height_m for mesh in surfaces])),
        ("body height, m", _range([mesh.height_m for mesh in bodies])),
        *((f"  {stage} p50, ms", f"{_percentile(values, 50):.1f}") for stage, values in _stages(frames).items()),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value:>14}" for name, value in rows)


def _stages(frames: Sequence[Line]) -> dict[str, list[float]]:
    """Milliseconds of each stage over the frames, in the order in which the stages first appear."""
    stages: dict[str, list[float]] = {}
    for frame in frames:
        for stage, spent_ms in frame["stages_ms"].items():
            if spent_ms is not None:
                stages.setdefault(stage, []).append(spent_ms)
    return stages


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def _share(meshes: Sequence[MeshCheck]) -> str:
    return f"{sum(mesh.watertight for mesh in meshes)} of {len(meshes)}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}" if values else "none"


def summarise(directory: Path, clip_path: Path) -> None:
    """Print the table, write the contact sheet, and raise for what is wrong.

    Raises:
        PublishedFramesError: a check failed.
        UsageError: the directory holds no frames.
        SourceError: the clip cannot be read.
        OutputError: the contact sheet cannot be written.
    """
    frames = read_frames(directory)
    clip = read_clip(clip_path)
    surfaces, bodies = (check_meshes(directory, frames, kind) for kind in ("surface", "body"))
    print(table(frames, surfaces, bodies))
    print(f"contact sheet: {write_contact_sheet(directory, frames, clip)}")
    wrong = complaints(frames, clip.frame_count, surfaces, bodies)
    if wrong:
        raise PublishedFramesError("; ".join(wrong))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="summary", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, help="what a receiver published into")
    parser.add_argument("--clip", type=Path, required=True, help="the video that was sent")
    options = parser.parse_args(arguments)
    return exit_code_of("summary", lambda: summarise(options.directory, options.clip))


if __name__ == "__main__":
    sys.exit(main())
