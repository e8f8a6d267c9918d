"""Attacks, faults and kills beside honest senders: `python -m tests.bench.abuse`.

    siege     a receiver with TLS and accounts serves a live sender and one with complete delivery; attackers with a
              token of their own attack it in turn, one family a round; then processes, files and disk fail
    kills     SIGKILL of senders and receivers with complete delivery: one of each, then three that share sessions

The table of attacks counts, by family, how many were refused, harmless, accepted wrongly (`wrong`), not handled (an
exception), or not answered in time (`hang`); `share` is the live sender's frame rate beside a family over that of the
calm times.  A frame is lost if it was acknowledged, or with complete delivery captured, and is not recorded.

Each attack is logged with a seed of its own, and --repeat runs one again.  The exit code is 1 if there is a fault.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from common.errors import BodywireError
from common.text import printable
from tests.bench import report
from tests.bench.abuse import ledger
from tests.bench.abuse.outcome import table
from tests.bench.abuse.siege import Siege, judge
from tests.bench.abuse.testbed import Testbed, open_testbed

_SHORT_MINUTES, _SHORT_PATIENCE = 3.0, 5.0
_FRONTS, _SENDERS = 3, 4
_MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """What a part found: figures by system, counts of attacks by family, and faults in words."""

    systems: Mapping[str, Mapping[str, float]]
    faults: Sequence[str]
    attacks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class FaultFound(BodywireError):
    """An attack had an effect."""


def besiege(options: argparse.Namespace) -> Part:
    with open_testbed(_SHORT_PATIENCE if options.minutes < _SHORT_MINUTES else 1.0) as bed:
        siege = Siege(bed, 60 * options.minutes, str(options.seed))
        siege.run()
        verdict, attacks = judge(bed, siege), table(bed.journal.read())
        if options.logs:
            options.logs.mkdir(parents=True, exist_ok=True)
            for path in (bed.folder / "journal", *bed.logs.iterdir()):
                (options.logs / path.name).write_bytes(path.read_bytes())
    print(f"{report.table(verdict.live)}\n")
    return Part(verdict.senders, verdict.faults, attacks)


def kill(options: argparse.Namespace) -> Part:
    seed = str(options.seed)
    runs = {
        "kills of a pair": ledger.run(options.kills, seed),
        "kills of fronts": ledger.run(max(options.kills // 4, 1), seed, _FRONTS, _SENDERS, ["--share-sessions"]),
    }
    faults = [f"{name}: {outcome.faults}" for name, outcome in runs.items() if outcome.faults.any]
    return Part({name: outcome.figures() for name, outcome in runs.items()}, faults)


PARTS: Mapping[str, Callable[[argparse.Namespace], Part]] = {"siege": besiege, "kills": kill}


def _work(options: argparse.Namespace) -> None:
    if options.repeat:
        with open_testbed(_SHORT_PATIENCE) as bed:
            _repeat(bed, options.repeat)
        return
    parts = [PARTS[name](options) for name in options.parts]
    systems = {name: row for part in parts for name, row in part.systems.items()}
    attacks = {name: row for part in parts for name, row in part.attacks.items()}
    faults = [fault for part in parts for fault in part.faults]
    print(f"seed {options.seed}, {report.machine_line()}\n")
    for rows in (attacks, *({name: row} for name, row in systems.items())):
        print(f"{report.table(rows)}\n" if rows else "", end="")
    print("\n".join(f"  {printable(fault, _MOST_CHARACTERS)}" for fault in faults))
    report.write_json(options, systems, attacks=attacks, faults=faults)
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
    report.add_amount(parser, "--kills", "of the pair, four times as many as of the fronts", 40, 4, report.at_least(1))
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the journal and the logs of all processes")
    parser.add_argument("--repeat", metavar="FAMILY.ATTACK:SEED", help="run one attack of a journal again")
    # The processes started here must not outlive this one.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    return report.run(parser, _work, arguments)


if __name__ == "__main__":
    sys.exit(main())
