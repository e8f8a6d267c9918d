"""Checks of the output directory."""

import shutil
from pathlib import Path

from common.doctor.finding import Finding, Verdict, ok, problem, warning
from common.doctor.storage import check_writable, existing_ancestor, is_locked
from common.errors import OutputError
from receiver.publish.config import PublishConfig

# Sizes of a person's surface and body in a frame, bytes; measured on the demo clip.
_SURFACE_BYTES = {"glb": 0.3e6, "obj": 0.66e6, "ply": 0.31e6}
_BODY_BYTES = {"glb": 0.9e6, "obj": 1.2e6, "ply": 0.56e6}
_LINE_BYTES = 2500
# What two cores reconstruct of one person.
_FRAMES_PER_SECOND = 14
_SHORT_S = 3600.0


def check_output(config: PublishConfig) -> Finding:
    """Whether the directory and what an earlier receiver left in it can be written, and no other receiver uses it."""
    lines = config.out / "frames.jsonl"
    if lines.exists() and is_locked(lines):
        found = f"another receiver writes into {config.out}"
        return problem("output", found, "stop it, or choose another --out", OutputError)
    for folder in (config.out, config.out / "meshes"):
        finding = check_writable("output", folder, "--out")
        if finding.verdict is not Verdict.OK or not folder.exists():
            return finding
    return ok("output", f"{config.out} can be written")


def check_disk(config: PublishConfig, free_bytes: int | None = None) -> Finding:
    """For how long the disk has room, at the usual rate of one person."""
    place = existing_ancestor(config.out)
    free = shutil.disk_usage(place if place.is_dir() else Path(place).parent).free if free_bytes is None else free_bytes
    per_second = _FRAMES_PER_SECOND * frame_bytes(config)
    lasts_s = free / per_second
    found = (
        f"{free / 1e9:.1f} GB free, for {_duration(lasts_s)} of one person at {_FRAMES_PER_SECOND} frames a second "
        f"({per_second / 1e6:.1f} MB a second)"
    )
    if lasts_s < _SHORT_S:
        return warning("disk", found, "free some space, or write less: --mesh-every 30, --no-body or --format ply")
    return ok("disk", found)


def frame_bytes(config: PublishConfig) -> float:
    """What a frame of one person adds to the output directory, on average, in bytes."""
    meshes = _SURFACE_BYTES[config.format] + (_BODY_BYTES[config.format] if config.body else 0.0)
    return _LINE_BYTES + meshes / config.mesh_every


def _duration(seconds: float) -> str:
    for unit, length_s in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} seconds"
