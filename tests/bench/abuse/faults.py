"""Faults of processes and files, each mended after a while; the honest senders must recover and lose nothing."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.abuse.outcome import Outcome, Result, by_name
from tests.bench.abuse.testbed import DRAIN_TIMEOUT_S, Testbed

_EXIT_LIMIT_S = 2.0 + DRAIN_TIMEOUT_S
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
    return f"{took_s:.1f} s from SIGTERM to the end" if took_s > _EXIT_LIMIT_S * bed.patience else ""


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


def _quietly(bed: Testbed, what: str, mend: Callable[[], object]) -> Result:
    """Lets a fault of the files last and mends it; counts the lines that are logged meanwhile."""
    before = _log_lines(bed)
    try:
        bed.wait(_HOLD_S)
    finally:
        mend()
    rate = (_log_lines(bed) - before) / _HOLD_S
    recovered = recover(bed, f"{what}: {rate:.1f} log lines a second")
    return Result(Outcome.WRONG, recovered.detail) if rate > _LOG_LINES_PER_S else recovered


def _log_lines(bed: Testbed) -> int:
    """Lines that receiver and honest senders have written to stderr."""
    return sum(process.errors.count("\n") for process in (bed.receiver, bed.live, bed.durable))


def disk_full(bed: Testbed, rng: random.Random) -> Result:
    """No space for some seconds."""
    bed.fill_disk()
    return _quietly(bed, "disk full", bed.empty_disk)


def index_damaged(bed: Testbed, rng: random.Random) -> Result:
    """The index is cut, emptied or nonsense when the receiver starts again."""
    problem = stop(bed)
    path = bed.out / "index.json"
    whole = path.read_bytes()
    path.write_bytes(rng.choice([b"", whole[: len(whole) // 2], bytes(len(whole)), b"[]", b"null", b'{"version": 1}']))
    bed.restart_receiver()
    return Result(Outcome.HANG, problem) if problem else recover(bed, "index damaged")


def certificate_damaged(bed: Testbed, rng: random.Random) -> Result:
    """Certificate or tokens are unreadable for a while; the running receiver keeps the old ones."""
    path: Path = rng.choice([bed.certificate, bed.token_table])
    whole = path.read_bytes()
    path.write_bytes(rng.choice([b"", whole[: len(whole) // 2], rng.randbytes(500)]))
    os.utime(path)
    return _quietly(bed, f"{path.name} damaged", lambda: path.write_bytes(whole))


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "faults": by_name(kill_receiver, terminate_receiver),
    "files": by_name(disk_full, index_damaged, certificate_damaged),
}
QUIET_FAMILIES = ("files",)
"""Log lines are counted in these, so nothing else attacks meanwhile."""
