"""Daemons that start with something damaged or odd: a line and a documented exit code, or they work."""

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from tests.bench.abuse.cameras import make_sources, silent_server
from tests.bench.abuse.outcome import Outcome, Result, by_name
from tests.bench.abuse.supervision import EXIT_CODES, Watched
from tests.bench.abuse.testbed import ROOT, START_TIMEOUT_S, Testbed, free_port

EXIT_LIMIT_S = 2.0
_DRAIN_LIMIT_S = 10.0
"""A sender that is stopped waits so long for the last acknowledgements, if the receiver gives none."""
_OUT_OF_MEMORY = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
sys.argv = ["receiver", *sys.argv[1:]]
runpy.run_module("receiver", run_name="__main__", alter_sys=True)
"""

Case = Callable[[Testbed, random.Random], Result]


def _folder(bed: Testbed) -> Path:
    folder = bed.folder / f"case-{time.time_ns()}"
    folder.mkdir()
    return folder


def _damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut, empty, overwritten, or another file."""
    at = rng.randrange(max(len(content), 1))
    noise = rng.randbytes(64)
    return rng.choice([b"", content[:at], content[:at] + noise + content[at + 64 :], rng.randbytes(2000)])


def outcome_of(bed: Testbed, process: Watched, started: bool, *, may_start: bool) -> Result:
    """Whether a daemon has started or ended as it should; ends it."""
    if started:
        process.signal(signal.SIGTERM)
        took_s = process.wait(20.0)
        if took_s is None or took_s > EXIT_LIMIT_S * bed.patience:
            return Result(Outcome.HANG, f"{took_s or 20:.1f} s from SIGTERM to the end")
        return Result(Outcome.HARMLESS, "it starts") if may_start else Result(Outcome.WRONG, "it starts")
    if process.exit_code is None:
        process.kill()
        return Result(Outcome.HANG, f"neither listens nor ends within {START_TIMEOUT_S:g} s")
    if process.alarms():
        return Result(Outcome.UNHANDLED, process.alarms()[0].cause)
    lines = [line for line in process.errors.splitlines() if line.startswith(f"{process.name}: ")]
    if process.exit_code not in EXIT_CODES or process.exit_code == 0 or len(lines) != 1:
        return Result(Outcome.UNHANDLED, f"exit code {process.exit_code}, {process.errors[-300:]!r}")
    return Result(Outcome.REFUSED, f"exit code {process.exit_code}: {lines[0]}")


def _start(bed: Testbed, command: list[str]) -> tuple[Watched, bool]:
    """Starts a receiver; returns it, and whether it listens."""
    process = bed.start("receiver", *command)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.exit_code is None and time.monotonic() < deadline_s:
        if "listening on " in process.output:
            return process, True
        time.sleep(0.05)
    return process, False


def _command(bed: Testbed, rng: random.Random, folder: Path, **changes: str) -> list[str]:
    """A second receiver, beside the one under attack."""
    fixed = {"listen": f"127.0.0.1:{free_port(rng)}", "out": str(folder / "out"), "metrics": ""}
    return bed.receiver_command(**{**fixed, **changes})


def certificate(bed: Testbed, rng: random.Random) -> Result:
    """Certificate, key or tokens damaged, exchanged, missing, or a directory."""
    folder = _folder(bed)
    files = {
        "tls_cert": bed.certificates / "receiver.pem",
        "tls_key": bed.certificates / "receiver.key",
        "tokens": bed.token_table,
    }
    flag = rng.choice(list(files))
    path = folder / files[flag].name
    kind = rng.choice(["damaged", "exchanged", "missing", "directory"])
    if kind == "damaged":
        path.write_bytes(_damaged(files[flag].read_bytes(), rng))
    elif kind == "exchanged":
        path = bed.certificates / ("ca.key" if flag == "tls_key" else "ca.pem")
    elif kind == "directory":
        path.mkdir()
    # Damage in the text around a certificate, or an empty table of tokens, is none.
    process, started = _start(bed, _command(bed, rng, folder, **{flag: str(path)}))
    result = outcome_of(bed, process, started, may_start=kind == "damaged")
    return Result(result.outcome, f"{flag} {kind}: {result.detail}")


def taken_port(bed: Testbed, rng: random.Random) -> Result:
    """A port that another process has, or that may not exist."""
    folder, flag = _folder(bed), rng.choice(["listen", "metrics"])
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = rng.choice([f"127.0.0.1:{taken.getsockname()[1]}", "192.0.2.1:50051", "no.such.host.invalid:1"])
        process, started = _start(bed, _command(bed, rng, folder, **{flag: address}))
        result = outcome_of(bed, process, started, may_start=False)
    return Result(result.outcome, f"{flag} {address}: {result.detail}")


def odd_directory(bed: Testbed, rng: random.Random) -> Result:
    """An output directory with nonsense in place of the receiver's files."""
    folder = _folder(bed)
    out = folder / "out"
    out.mkdir()
    name = rng.choice(["frames.jsonl", "index.json", "meshes", ""])
    kind = rng.choice(["noise", "directory", "loop", "nonsense"])
    path = out / name if name else out
    if not name:
        out.rmdir()
    if kind == "noise":
        path.write_bytes(rng.randbytes(100_000))
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.write_bytes(
            rng.choice([b'{"seq": 1e400}\n' * 9, b"\xff\xfe\n\n\n", b"[[[[" * 100_000, b'{"sessions": [{}]}'])
        )
    process, started = _start(bed, _command(bed, rng, folder))
    result = outcome_of(bed, process, started, may_start=True)
    return Result(result.outcome, f"{name or 'out'} is {kind}: {result.detail}")


def weights(bed: Testbed, rng: random.Random) -> Result:
    """A file of weights, or their manifest, damaged or missing."""
    folder = _folder(bed)
    original = ROOT / "common" / "weights"
    # Modules look for weights beside themselves: these are copied, everything else is linked.
    for package in ("common", "receiver"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, copy_function=_copy_or_link, ignore=ignored)
    names = ["decode.safetensors.gz", "diffusion.safetensors.gz", "label_space.safetensors", "manifest.json"]
    name, missing = rng.choice([*names, "shape_space.safetensors"]), rng.random() < 0.3
    copy = folder / "common" / "weights"
    (copy / name).unlink()
    if not missing:
        (copy / name).write_bytes(_damaged((original / name).read_bytes(), rng))
    code = f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); sys.argv[0] = 'receiver'; "
    code += "runpy.run_module('receiver', run_name='__main__', alter_sys=True)"
    process, started = _start(bed, ["-c", code, *_command(bed, rng, folder)[2:]])
    # The spaces have no checksum of their own: they are part of the model hash, which the handshake compares.
    result = outcome_of(bed, process, started, may_start=name.endswith("_space.safetensors") and not missing)
    shutil.rmtree(folder)
    return Result(result.outcome, f"{name} {'missing' if missing else 'damaged'}: {result.detail}")


def _copy_or_link(source: str, target: str) -> None:
    (shutil.copyfile if source.endswith(".py") else os.symlink)(source, target)


def address_space(bed: Testbed, rng: random.Random) -> Result:
    """Too little address space for the networks."""
    folder, limit = _folder(bed), rng.choice([300, 600, 1000, 1500, 2500]) * 2**20
    process, started = _start(bed, ["-c", _OUT_OF_MEMORY.format(limit=limit), *_command(bed, rng, folder)[2:]])
    result = outcome_of(bed, process, started, may_start=True)
    return Result(result.outcome, f"{limit // 2**20} MB of address space: {result.detail}")


def odd_sender(bed: Testbed, rng: random.Random) -> Result:
    """A sender with a source that blocks or is damaged, stopped at a random moment of its start or later."""
    folder = _folder(bed)
    make_sources(folder / "sources")
    names = ["fifo.png", "fifo.mp4", "fifo", "mixed", "noisy.mp4", "wide.png", "turned.jpg"]
    with silent_server() as silent:
        camera = rng.choice([*[str(folder / "sources" / name) for name in names], silent, "2147483648", "a" * 300])
        process = bed.start("sender", "-m", "sender", "--camera", camera, *bed.sender_flags)
        process.wait(rng.uniform(4.0, 10.0))
        result = _end_of_sender(bed, process)
    return Result(result.outcome, f"{camera[-40:]!r}: {result.detail}")


def sender_at_hostile_receiver(bed: Testbed, rng: random.Random) -> Result:
    """A sender of the demo clip whose receiver is hostile, stopped at a random moment."""
    command = ["-m", "tests.bench.abuse.hostile_receiver", "--serve", "--model", bed.target.model.hex()]
    hostile = bed.start("hostile-receiver", *command, "--seed", str(rng.random()))
    peer = hostile.until_output("listening on ", 30.0).split()[-1]
    flags = ["--camera", "demo", "--peer", peer, "--reconnect-timeout", "2", "--realtime"]
    process = bed.start("sender", "-m", "sender", *flags)
    process.wait(rng.uniform(5.0, 12.0))
    result = _end_of_sender(bed, process, _DRAIN_LIMIT_S)
    hostile.kill()
    return result


def _end_of_sender(bed: Testbed, process: Watched, drain_s: float = 0.0) -> Result:
    """How a sender ends after SIGTERM, or has ended before it."""
    process.signal(signal.SIGTERM)
    took_s = process.wait(20.0)
    if took_s is None:
        process.kill()
        return Result(Outcome.HANG, "no end within 20 s after SIGTERM")
    if took_s > EXIT_LIMIT_S * bed.patience + drain_s:
        return Result(Outcome.HANG, f"{took_s:.1f} s from SIGTERM to the end")
    if process.alarms():
        return Result(Outcome.UNHANDLED, process.alarms()[0].cause)
    # A signal that arrives while Python still starts ends it.
    if process.exit_code not in (*EXIT_CODES, -signal.SIGTERM):
        return Result(Outcome.UNHANDLED, f"exit code {process.exit_code}")
    outcome = Outcome.REFUSED if process.exit_code else Outcome.HARMLESS
    return Result(outcome, f"exit code {process.exit_code}: {process.errors.strip()[-200:]}")


CASES: Mapping[str, Mapping[str, Case]] = {
    "startup": by_name(certificate, taken_port, odd_directory, weights, address_space),
    "sender": by_name(odd_sender, sender_at_hostile_receiver),
}
