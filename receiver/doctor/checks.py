"""Checks of what the receiver alone needs: whom it admits, its engine, output directory and page."""

import os
import shutil
from pathlib import Path

from common.doctor.finding import Finding, Verdict, ok, problem, warning
from common.doctor.storage import check_address_free, check_writable, existing_ancestor, is_locked
from common.errors import OutputError
from common.io.addresses import Address
from common.weights.config import DeviceConfig
from receiver.engine.config import EngineConfig
from receiver.engine.pool.cluster import check_cores, reach, require_ray
from receiver.link.auth.tokens import TokenFile
from receiver.link.config import SecurityConfig
from receiver.publish.config import PublishConfig
from receiver.web.app import check_built
from receiver.web.config import WebConfig


def check_admission(security: SecurityConfig, listen: Address) -> Finding:
    """Who can send; raises UsageError if other machines could by accident, or if a file cannot be used."""
    security.check(listen)
    if security.tokens is not None:
        TokenFile(security.tokens)
    proofs = [f"a token of {security.tokens}"] if security.tokens else []
    proofs += [f"a certificate signed by {security.tls_ca}"] if security.tls_ca else []
    proof = f"senders present {' and '.join(proofs)}" if proofs else "senders prove nothing"
    if listen.is_loopback:
        return ok("admission", f"this machine only; {proof}")
    if security.tls_cert is None:
        found = "everybody who reaches this machine can send, and everybody on the way can read the frames"
        return warning("admission", found, "give certificates; see docs/security.md")
    if not proofs:
        found = "encrypted, but everybody who reaches this machine can send"
        return warning("admission", found, "give --tokens or --tls-ca")
    return ok("admission", f"encrypted; {proof}")


def check_engine(config: EngineConfig, device: DeviceConfig) -> Finding:
    """Where people are reconstructed; raises UsageError or PeerError if the pool cannot be started or joined."""
    config.check(device.device)
    if config.kind == "local":
        return ok("engine", "this process")
    check_cores(config)
    version = require_ray().__version__
    if config.address is None:
        return ok("engine", f"Ray {version} on this machine, {config.most_replicas} replicas at most")
    reach(config.address)
    return ok("engine", f"Ray {version}, a cluster answers at {config.address}")


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


def check_retention(config: PublishConfig, free_bytes: int | None = None) -> Finding:
    """What is deleted by itself; a warning if the disk has no room for what is to be kept."""
    rules = []
    if config.keep_days is not None:
        rules.append(f"{config.keep_days:g} days after their end")
    if config.keep_gb is not None:
        rules.append(f"the oldest first beyond {config.keep_gb:g} GB")
    if not rules:
        return ok("sessions", "kept until they are deleted on the page; --keep-days and --keep-gb delete old ones")
    found = f"ended ones are deleted {', and '.join(rules)}"
    free = _free_bytes(config) if free_bytes is None else free_bytes
    meshes = config.out / "meshes"
    kept = sum(entry.stat().st_size for entry in os.scandir(meshes)) if meshes.is_dir() else 0
    if config.keep_gb is not None and 1e9 * config.keep_gb > free + kept:
        found += f", but the disk has room for {(free + kept) / 1e9:.1f} GB only"
        return warning("sessions", found, "give a smaller --keep-gb, or another --out")
    return ok("sessions", found)


def _free_bytes(config: PublishConfig) -> int:
    place = existing_ancestor(config.out)
    return shutil.disk_usage(place if place.is_dir() else Path(place).parent).free


def check_disk(config: PublishConfig, free_bytes: int | None = None) -> Finding:
    """For how long the disk has room, at the usual rate of one person."""
    free = _free_bytes(config) if free_bytes is None else free_bytes
    per_second = _FRAMES_PER_SECOND * frame_bytes(config)
    lasts_s = free / per_second
    found = (
        f"{free / 1e9:.1f} GB free, for {_duration(lasts_s)} of one person at {_FRAMES_PER_SECOND} frames a second "
        f"({per_second / 1e6:.1f} MB a second)"
    )
    if lasts_s < _SHORT_S:
        return warning(
            "disk", found, "free some space, write less (--mesh-every 30, --no-body), or keep less: --keep-gb"
        )
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


def check_page(config: WebConfig, security: SecurityConfig) -> Finding:
    """Whether the page is built and protected, and its address free; a default address that is taken is replaced.

    Raises:
        UsageError: passwords would be sent unencrypted.
        OutputError: the page is not built.
    """
    if not config.page:
        return ok("page", "not served (--no-page)")
    config.check(security)
    check_built()
    if config.http is None:
        return ok("page", f"on {config.address}, or on a free port if that one is taken")
    return check_address_free("page", config.http, "--http")
