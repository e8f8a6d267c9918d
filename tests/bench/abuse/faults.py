"""Faults of processes and files, each mended after a while; the honest senders must recover and lose nothing."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.abuse.outcome import Outcome, Result, by_name
from tests.bench.abuse.testbed import DRAIN_TIMEOUT_S, Testbed
from tests.bench.abuse.theft import Victim, steal
from tests.netlab.hostile_client import Identity

EXIT_LIMIT_S = 2.0 + DRAIN_TIMEOUT_S
"""Longest time from SIGTERM to the end of the receiver: two seconds, and its time-out for accepted frames."""
_RECOVERY_LIMIT_S = 45.0
_HOLD_S = 5.0
_LOG_LINES_PER_S = 4.0
"""More lines than this from the receiver and two senders together are not quiet."""

Fault = Callable[[Testbed, random.Random], Result]


def recover(bed: Testbed, what: str) -> Result:
    """Waits until the honest senders go on; restarts the receiver if they do not."""
    took_s = bed.until_progress(_RECOVERY_LIMIT_S * bed.patience)
    if took_s is not None:
        return Result(Outcome.HARMLESS, f"{what}; frames again after {took_s:.1f} s")
    problem = stop(bed)
    bed.restart_receiver()
    return Result(Outcome.HANG, f"{what}; no frames for {_RECOVERY_LIMIT_S:g} s, restarted; {problem}")


def stop(bed: Testbed) -> str:
    """SIGTERM to the receiver; returns what is wrong with its end."""
    bed.receiver.signal(signal.SIGTERM)
    took_s = bed.receiver.wait(30.0)
    if took_s is None:
        bed.receiver.kill()
        return "it did not end within 30 s after SIGTERM"
    if bed.receiver.exit_code:
        return f"exit code {bed.receiver.exit_code} after SIGTERM"
    return f"{took_s:.1f} s from SIGTERM to the end" if took_s > EXIT_LIMIT_S * bed.patience else ""


def kill_receiver(bed: Testbed, rng: random.Random) -> Result:
    """SIGKILL, restart on the same directory."""
    bed.receiver.kill()
    time.sleep(rng.uniform(0.0, 2.0))
    bed.restart_receiver()
    return recover(bed, "killed")


def terminate_receiver(bed: Testbed, rng: random.Random) -> Result:
    """SIGTERM, restart."""
    problem = stop(bed)
    bed.restart_receiver()
    return Result(Outcome.HANG, problem) if problem else recover(bed, "terminated")


def stop_receiver(bed: Testbed, rng: random.Random) -> Result:
    """SIGSTOP, SIGCONT."""
    bed.receiver.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.5, _HOLD_S))
    bed.receiver.signal(signal.SIGCONT)
    return recover(bed, "stopped and continued")


def kill_durable_sender(bed: Testbed, rng: random.Random) -> Result:
    """SIGKILL of the sender with complete delivery, restart."""
    bed.durable.kill()
    time.sleep(rng.uniform(0.0, 1.0))
    bed.restart_durable()
    return recover(bed, "sender killed")


def network_cut(bed: Testbed, rng: random.Random) -> Result:
    """The honest senders' connections are reset, several times in a row."""
    for _ in range(rng.randint(1, 5)):
        bed.network.cut()
        time.sleep(rng.uniform(0.0, 1.5))
    return recover(bed, "connections reset")


def network_silent(bed: Testbed, rng: random.Random) -> Result:
    """The network delivers nothing for a while; connections stay half open."""
    bed.network.silence()
    time.sleep(rng.uniform(0.5, 2 * _HOLD_S))
    bed.network.restore()
    return recover(bed, "the network delivers again")


def theft_over_a_restart(bed: Testbed, rng: random.Random) -> Result:
    """A session that began before a restart is asked for by another sender first, then by its owner."""
    victim = Victim(bed.target, Identity.make(rng))
    problem = asyncio.run(victim.send(drain=rng.random() < 0.5))
    if problem:
        return Result(Outcome.ABSENT, problem)
    if rng.random() < 0.5:
        bed.receiver.kill()
    else:
        stop(bed)
    bed.restart_receiver()
    other = Identity(victim.identity.session_id, rng.randbytes(32))
    thieves = ((bed.target.attacker, other), (bed.target.victim, other), (bed.target.attacker, victim.identity))
    for account, thief in thieves:
        for resume in rng.sample([False, True], 2):
            result = asyncio.run(steal(bed.target, thief, account, resume=resume))
            if result.outcome is not Outcome.REFUSED:
                return Result(result.outcome, f"{account} after a restart: {result.detail}")
    problem = asyncio.run(victim.send(drain=True))
    return Result(Outcome.WRONG, f"the owner, after a restart: {problem}") if problem else recover(bed, "refused")


def _quietly(bed: Testbed, what: str, seconds: float) -> Result:
    """Lets a fault of the files last; counts the lines that are logged meanwhile."""
    lines = bed.log_lines()
    bed.wait(seconds)
    rate = (bed.log_lines() - lines) / seconds
    outcome = Outcome.WRONG if rate > _LOG_LINES_PER_S else Outcome.HARMLESS
    return Result(outcome, f"{what}: {rate:.1f} log lines a second")


def _worst(*results: Result) -> Result:
    faults = [result for result in results if result.outcome is not Outcome.HARMLESS]
    return Result((faults or results)[0].outcome, "; ".join(result.detail for result in results))


def disk_full(bed: Testbed, rng: random.Random) -> Result:
    """No space for some seconds."""
    bed.disk.fill(bed.receiver.pid)
    try:
        quiet = _quietly(bed, "disk full", 2 * _HOLD_S)
    finally:
        bed.disk.empty(bed.receiver.pid)
    return _worst(quiet, recover(bed, "space again"))


def files_moved(bed: Testbed, rng: random.Random) -> Result:
    """A file of the output is moved away for some seconds, or a file is in its place meanwhile."""
    path = bed.out / rng.choice(["frames.jsonl", "sessions.jsonl", "meshes"])
    aside, replaced = bed.out / f"{path.name}.aside", rng.random() < 0.5
    path.rename(aside)
    if replaced:
        path.write_text("")
    quiet = _quietly(bed, f"{path.name} {'replaced' if replaced else 'moved'}", _HOLD_S)
    path.unlink(missing_ok=True)
    aside.rename(path)
    return _worst(quiet, recover(bed, "in its place again"))


def lines_removed(bed: Testbed, rng: random.Random) -> Result:
    """`frames.jsonl` is removed; the receiver is started again for a new one."""
    path = bed.out / "frames.jsonl"
    aside = bed.out / f"frames.jsonl.{time.time_ns()}"
    path.rename(aside)
    # What is written to the file from here on would be lost: keep only what it has now.
    (bed.folder / aside.name).write_bytes(aside.read_bytes())
    aside.unlink()
    quiet = _quietly(bed, "frames.jsonl removed", _HOLD_S)
    problem = stop(bed)
    bed.restart_receiver()
    return Result(Outcome.HANG, problem) if problem else _worst(quiet, recover(bed, "restarted"))


def index_damaged(bed: Testbed, rng: random.Random) -> Result:
    """The index is cut, emptied or nonsense when the receiver starts again."""
    problem = stop(bed)
    path = bed.out / "index.json"
    whole = path.read_bytes()
    path.write_bytes(rng.choice([b"", whole[: len(whole) // 2], bytes(len(whole)), b"[]", b"null", b'{"version": 1}']))
    bed.restart_receiver()
    return Result(Outcome.HANG, problem) if problem else recover(bed, "index damaged")


def certificate_damaged(bed: Testbed, rng: random.Random) -> Result:
    """Certificate and tokens are unreadable for a while; the running receiver keeps the old ones."""
    path: Path = rng.choice([bed.certificates / "receiver.pem", bed.token_table])
    whole = path.read_bytes()
    path.write_bytes(rng.choice([b"", whole[: len(whole) // 2], rng.randbytes(500)]))
    os.utime(path)
    quiet = _quietly(bed, f"{path.name} damaged", _HOLD_S)
    path.write_bytes(whole)
    return _worst(quiet, recover(bed, "mended"))


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "faults": by_name(kill_receiver, terminate_receiver, stop_receiver, kill_durable_sender),
    "network": by_name(network_cut, network_silent),
    "theft": {theft_over_a_restart.__name__: theft_over_a_restart},
    "files": by_name(
        disk_full,
        files_moved,
        lines_removed,
        index_damaged,
        certificate_damaged,
    ),
}
QUIET_FAMILIES = ("files",)
"""Log lines are counted in these, so nothing else attacks meanwhile."""
