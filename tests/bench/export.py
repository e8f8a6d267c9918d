"""How fast `receiver export` is, and whether Blender imports, plays, bends and renders what it writes.

    python -m tests.bench.export [--session OUT] [--pictures FOLDER]

Columns of the first table: frames in the file; seconds, and seconds of one core, with the start of the process; poses
for each of the latter; largest memory of the process; size of the file or files. The session is the demo clip's,
repeated to ten minutes at 20 frames a second, which USDZ compresses; the sequences of meshes are a part of it.

The second table is Blender's: vertices of the imported and animated mesh against those of the file, joints of the
imported BVH against its own, how far the vertices move while the animation plays and while the left elbow is bent, and
the share of vertices that the elbow moves. Blender is optional: apt-get install blender python3-numpy.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import BodywireError
from tests.bench import report
from tests.support.bvh_reader import Bvh
from tests.support.demo_output import publish_demo
from tests.support.glb_reader import Array, Glb

SCENE = Path(__file__).parents[1] / "support" / "blender_scene.py"
DEMO_FRAMES, QUICK_DEMO_FRAMES = 120, 20
LONG_FRAMES, RATE = 12_000, 20
SEQUENCE_FRAMES = {"ply": 600, "obj": 200}
BLENDER_TIMEOUT_S = 300
SAMPLES = 200

# The largest memory in `wait4` is that of this process if it was larger when it started the other one.
_EXPORT = """
import re, sys
from pathlib import Path
from receiver.export.command import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


class ExportFailed(BodywireError):
    """An export or Blender failed, or Blender shows something else than the file."""


def repeated(session: Path, out: Path) -> Path:
    """A session of `LONG_FRAMES` frames that repeats the bodies of another one, without copying them."""
    shutil.copytree(session / "meshes", out / "meshes", copy_function=os.link)
    lines = [json.loads(line) for line in (session / "frames.jsonl").read_text().splitlines()]
    with open(out / "frames.jsonl", "w", encoding="utf-8") as file:
        for number in range(LONG_FRAMES):
            line = {**lines[number % len(lines)], "seq": number, "session": 1, "captured_at": 1e9 + number / RATE}
            file.write(json.dumps(line) + "\n")
    return out


def export(session: Path, output: Path, mesh_format: str, last_s: float | None = None) -> report.Figures:
    """Exports in a process of its own and measures it."""
    command = [sys.executable, "-c", _EXPORT, str(session), "--format", mesh_format]
    command += ["--output", str(output), *(["--to", str(last_s)] if last_s else [])]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        memory_kib = process.stdout.read().split()[-1:]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    spent = time.perf_counter() - started
    if process.returncode != 0:
        raise ExportFailed(f"receiver export --format {mesh_format} failed; its message is above")
    frames = LONG_FRAMES if last_s is None else round(last_s * RATE) + 1
    files = list(output.iterdir()) if output.is_dir() else [output]
    return {
        "frames": frames,
        "time_s": spent,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "poses_per_cpu_second": frames / (usage.ru_utime + usage.ru_stime),
        "memory_mb": int(memory_kib[0]) * 1024 / 1e6,
        "file_mb": sum(file.stat().st_size for file in files) / 1e6,
    }


def speeds(session: Path, folder: Path) -> report.Systems:
    """Each format's figures, for the long session."""
    long = repeated(session, folder / "long")
    formats = ["glb", "bvh", *(["usdz"] if find_spec("pxr") else [])]
    figures = {name: export(long, folder / f"long.{name}", name) for name in formats}
    for name, frames in SEQUENCE_FRAMES.items():
        figures[name] = export(long, folder / f"long-{name}", name, (frames - 1) / RATE)
    return figures


def blender_figures(session: Path, folder: Path, pictures: Path) -> report.Figures:
    """What Blender measures on the exported session.

    Raises:
        ExportFailed: Blender fails, or what it shows is not what the files have.
    """
    glb, bvh = folder / "session.glb", folder / "session.bvh"
    for path in (glb, bvh):
        command = ["export", str(session), "--fps", "30", "--format", path.suffix[1:], "--output", str(path)]
        subprocess.run([sys.executable, "-m", "receiver", *command], check=True, stdout=subprocess.DEVNULL)
    pictures.mkdir(parents=True, exist_ok=True)
    command = ["blender", "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(SCENE)]
    done = subprocess.run(
        [*command, "--", str(glb), str(bvh), str(pictures)],
        capture_output=True,
        text=True,
        timeout=BLENDER_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ExportFailed(f"Blender failed: {done.stderr.strip()[-1000:]}")
    measured = json.loads((pictures / "measured.json").read_text(encoding="utf-8"))
    figures = _compared(measured, Glb(glb.read_bytes()), Bvh(bvh.read_text(encoding="ascii")))
    _check(figures)
    return figures


def _compared(measured: dict[str, Any], glb: Glb, bvh: Bvh) -> report.Figures:
    shown, last = measured["glb"], bvh.joints(len(bvh.values) - 1)
    glb.show_key(0)
    vertices = glb.skinned_vertices()
    sampled = _z_up(vertices[:: max(1, len(vertices) // SAMPLES)])
    joints = _z_up(np.stack([last[name] for name in measured["bvh"]["heads"]]) / 100)
    heads = np.array(list(measured["bvh"]["heads"].values()))
    return {
        "bones": shown["bones"],
        "bvh_bones": measured["bvh"]["bones"],
        "vertex_error_mm": 1000 * float(np.linalg.norm(np.array(shown["first_vertices"]) - sampled, axis=1).max()),
        "bvh_joint_error_mm": 1000 * float(np.linalg.norm(heads - joints, axis=1).max()),
        "played_mm": 1000 * min(shown["played_m"]),
        "bent_mm": 1000 * shown["bent_m"],
        "bent_share": shown["bent_share"],
    }


def _z_up(points: Array) -> Array:
    """(N, 3) points, y up, as Blender has them: z up."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def _check(figures: report.Figures) -> None:
    faults = [
        *(f"{key} is {figures[key]:.2f}" for key in ("vertex_error_mm", "bvh_joint_error_mm") if figures[key] > 1),
        *(f"{key} is {figures[key]:.2f}" for key in ("played_mm", "bent_mm") if figures[key] < 10),
    ]
    if not 0.01 < figures["bent_share"] < 0.4:
        faults.append(f"bending the elbow moves {figures['bent_share']:.0%} of the vertices")
    if faults:
        raise ExportFailed(f"Blender shows something else than the file: {', '.join(faults)}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("export", __doc__, 0)
    parser.add_argument("--session", type=Path, metavar="OUT", help="a receiver's output with one session")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep Blender's renderings here")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = QUICK_DEMO_FRAMES if options.quick else DEMO_FRAMES
        session = options.session or publish_demo(folder / "demo", frames)
        print(f"{report.machine_line()}\n")
        systems = dict(speeds(session, folder))
        print(report.table(systems))
        if shutil.which("blender") is None:
            print("\nskipped: Blender is not installed (apt-get install blender python3-numpy)")
        else:
            systems["blender"] = blender_figures(session, folder, options.pictures or folder / "pictures")
            print("\n" + report.table({"blender": systems["blender"]}))
        report.write_json(options, systems)


if __name__ == "__main__":
    sys.exit(main())
