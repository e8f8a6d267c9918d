"""Attacks, faults and kills beside honest senders, in pieces: `python -m tests.bench.abuse --state FOLDER`.

    siege     a receiver with TLS and accounts serves a live sender and one with complete delivery; attackers with a
              token of their own attack it in turn, one family a round; then processes, files, disk and network fail
    packets   hostile packets and messages, through the decoders
    kills     SIGKILL of senders and receivers with complete delivery: one of each, then three that share sessions

One run is one piece of each part.  With --state its result is added to those of earlier runs, and the next seed is
taken: a run that is killed counts nothing.  The table of attacks counts, by family, how many were refused, harmless,
accepted wrongly (`wrong`), not handled (an exception), or not answered in time (`hang`); `share` is the live sender's
frame rate beside a family over that of the calm times.  A frame is lost if it was acknowledged, or with complete
delivery captured, and is not recorded.

Each attack is logged with a seed of its own, and --repeat runs one again.  The exit code is 1 if there is a fault.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from common.errors import BodywireError
from common.text import printable
from tests.bench import report
from tests.bench.abuse import bulk, ledger
from tests.bench.abuse.outcome import table
from tests.bench.abuse.siege import Siege, judge
from tests.bench.abuse.testbed import Testbed, open_testbed

_SHORT_MINUTES, _SHORT_PATIENCE = 3.0, 5.0
_FRONTS, _SENDERS = 3, 4
_MOST_CHARACTERS = 1000

Piece = dict[str, Any]
"""A part's counts by system under `counts`, and its `faults` in words."""


class FaultFound(BodywireError):
    """An attack had an effect."""


def besiege(options: argparse.Namespace, seed: str) -> Piece:
    short = options.minutes < _SHORT_MINUTES
    with open_testbed(random.Random(seed), _SHORT_PATIENCE if short else 1.0) as bed:
        course = Siege(bed, 60 * options.minutes, seed).run()
        verdict, attacks = judge(bed, course, short=short), table(bed.journal.read())
        if options.logs:
            options.logs.mkdir(parents=True, exist_ok=True)
            for path in (bed.folder / "journal", *bed.logs.iterdir()):
                (options.logs / path.name).write_bytes(path.read_bytes())
    print(f"{report.table(verdict.live)}\n")
    return {"counts": {**verdict.senders, **attacks}, "live": verdict.live, "faults": verdict.faults}


def decode(options: argparse.Namespace, seed: str) -> Piece:
    counts, faults = bulk.attack(options.packets, seed)
    return {"counts": {"hostile packets": counts}, "faults": faults}


def kill(options: argparse.Namespace, seed: str) -> Piece:
    runs = {
        "kills of a pair": ledger.run(options.kills, seed),
        "kills of fronts": ledger.run(max(options.kills // 4, 1), seed, _FRONTS, _SENDERS, ["--share-sessions"]),
    }
    faults = [f"{name}: {outcome.faults}" for name, outcome in runs.items() if outcome.faults.any]
    return {"counts": {name: outcome.figures() for name, outcome in runs.items()}, "faults": faults}


PARTS: Mapping[str, Callable[[argparse.Namespace, str], Piece]] = {"siege": besiege, "packets": decode, "kills": kill}


def summed(pieces: Sequence[Piece]) -> dict[str, dict[str, float]]:
    """The counts of all pieces; of figures that are no counts, the largest."""
    total: dict[str, dict[str, float]] = {}
    for piece in pieces:
        for system, counts in piece["counts"].items():
            own = total.setdefault(system, {})
            for name, value in counts.items():
                largest = name.endswith("growth") or "_ms_" in name
                own[name] = max(own.get(name, value), value) if largest else own.get(name, 0.0) + value
    return total


def _work(options: argparse.Namespace) -> None:
    if options.repeat:
        with open_testbed(random.Random(options.seed), _SHORT_PATIENCE) as bed:
            _repeat(bed, options.repeat)
        return
    state: Path | None = options.state and options.state / "pieces.jsonl"
    pieces: list[Piece] = []
    if state and state.exists():
        pieces = [json.loads(line) for line in state.read_text(encoding="utf-8").split("\n")[:-1]]
    seed = f"{options.seed}/{len(pieces)}"
    for part in options.parts:
        report.progress(f"{part}, seed {seed}")
        pieces.append({"part": part, **PARTS[part](options, seed)})
        if state:
            state.parent.mkdir(parents=True, exist_ok=True)
            with open(state, "a", encoding="utf-8") as file:
                file.write(json.dumps(pieces[-1]) + "\n")
    counts, faults = summed(pieces), [fault for piece in pieces for fault in piece["faults"]]
    attacks = {system: row for system, row in counts.items() if "attempts" in row}
    others = {system: row for system, row in counts.items() if system not in attacks}
    print(f"{len(pieces)} pieces, seed {options.seed}, {report.machine_line()}\n")
    for rows in (attacks, *({system: row} for system, row in others.items())):
        print(f"{report.table(rows)}\n" if rows else "", end="")
    print("\n".join(f"  {printable(fault, _MOST_CHARACTERS)}" for fault in faults))
    report.write_json(options, others, attacks=attacks, faults=faults, pieces=len(pieces))
    if faults:
        raise FaultFound(f"{len(faults)} faults: see above")


def _repeat(bed: Testbed, attack: str) -> None:
    """Runs one attack of a journal against a fresh receiver; prints its result and what the receiver wrote."""
    command = ["tests.bench.abuse.attacker", "--target", str(bed.target_file), "--repeat", attack]
    subprocess.run([sys.executable, "-m", *command], check=False)
    print(printable(bed.receiver.errors, _MOST_CHARACTERS))


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if there is a fault."""
    parser = report.flags("abuse", __doc__, 1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    report.add_amount(parser, "--minutes", "duration of a siege", 20.0, 1.0, float)
    report.add_amount(parser, "--packets", "hostile packets", 1_000_000, 30_000, float)
    report.add_amount(parser, "--kills", "of the pair, four times as many as of the fronts", 40, 4, report.at_least(1))
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="go on behind the pieces that this folder has")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the journal and the logs of all processes")
    parser.add_argument("--repeat", metavar="FAMILY.ATTACK:SEED", help="run one attack of a journal again")
    # The processes started here must not outlive this one.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    return report.run(parser, _work, arguments)


if __name__ == "__main__":
    sys.exit(main())
