"""Long runs in pieces that survive kills: `python -m tests.bench.campaign --state DIR --hours 8`.

    kills       SIGKILLs of sender or receiver under complete delivery, audited as in `tests.bench.ledger`
    packets     hostile packets through one frame decoder, in this process: mutated, mutated with right checks, and
                well-formed with absurd content; valid packets in between must decode right
    soak        minutes of live senders before a receiver without reconstruction, `link`, and a whole one
    mtls        seconds of 200 senders, which connect at once with mutual TLS
    reconnect   connections that are reset: time to the first acknowledged frame

The part that has done the smallest share of its whole goes next.  Each finished piece is a line of DIR/pieces.jsonl; a
campaign that was ended, even by SIGKILL, continues behind the last one.  `--hours 0` prints the tables alone, of all
pieces so far: how far each part came, then its figures.  `_per_hour` is the slope of a line through all minutes of a
soak but the first five of each process, with its standard error.  Exits with 1 if anything was lost or raised.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from common.errors import BodywireError, OutputError, UsageError
from tests.bench import ledger, report
from tests.bench.campaign.journal import Journal, Piece, Row, figures
from tests.bench.campaign.links import TLS_SENDERS, Soak, mutual_tls, reconnect
from tests.bench.campaign.packets import attack
from tests.netlab.durable_receiver import BUGS

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Part:
    """Size of a part, of its pieces, and of those of `--quick`, in its unit."""

    unit: str
    whole: float
    piece: float
    quick: float


PARTS: Final = {
    "kills": Part("kills", 10_000, 50, 5),
    "packets": Part("packets", 1e9, 1e7, 2e5),
    "soak": Part("minutes", 72 * 60, 60, 1),
    "mtls": Part("seconds", 600, 60, 10),
    "reconnect": Part("reconnects", 1000, 100, 20),
}


def kills(bug: str | None, number: float, seed: str, _: Path) -> Piece:
    """Kills one pair of sender and receiver; `bug` as in `tests.netlab.durable_receiver`."""
    outcome = ledger.run_pair(round(number), seed, bug)
    names = ("receiver_kills", "sender_kills", "frames", "lost", "duplicated", "misplaced", "wrong")
    counts = {name: outcome.figures()[name] for name in names}
    return Piece(outcome.kills.total(), counts, faults=[str(outcome.faults)] if outcome.faults.any else [])


def advance(journal: Journal, options: argparse.Namespace, scratch: Path) -> None:
    """Runs pieces until the hours are over or all parts are done; a part whose programs fail is left."""
    end_s, left = time.monotonic() + 3600 * options.hours, list(options.parts)
    with ExitStack() as stack:
        runs: dict[str, Callable[[float, str, Path], Piece]] = {
            "kills": partial(kills, options.bug),
            "packets": lambda size, seed, _: attack(size, seed),
            "soak": Soak(stack).piece,
            "mtls": partial(mutual_tls, options.senders),
            "reconnect": reconnect,
        }
        while time.monotonic() < end_s:
            shares = {name: sum(row["done"] for row in journal.rows(name)) / options.whole[name] for name in left}
            left = [name for name in left if shares[name] < 1]
            if not left:
                return
            name = min(left, key=lambda name: shares[name])
            number, began_s = len(journal.rows(name)), time.monotonic()
            seed = f"{options.seed} {name} {number}"
            report.progress(f"{time.strftime('%H:%M:%S')} {name}: piece {number + 1}")
            try:
                piece, failed = runs[name](options.piece[name], seed, scratch), False
            except OutputError as error:
                piece, failed = Piece(0, faults=[str(error)]), True
            journal.append(name, piece, seed=seed, began_at=time.time(), seconds=time.monotonic() - began_s)
            if failed or options.quick:
                left.remove(name)


def progress(rows: Sequence[Row], whole: float) -> dict[str, float]:
    """How far a part came; `whole_hours` is what all of it takes at the speed so far."""
    done, hours = sum(row["done"] for row in rows), sum(row["seconds"] for row in rows) / 3600
    came = {"whole": whole, "done": done, "percent": 100 * done / whole, "pieces": len(rows), "hours": hours}
    speed = {"per_hour": done / hours, "whole_hours": whole * hours / done} if done else {}
    return {**came, **speed, "faults": sum(len(row["faults"]) for row in rows)}


def show(journal: Journal, options: argparse.Namespace) -> None:
    """Prints how far each part came, then its figures."""
    came = {name: progress(journal.rows(name), options.whole[name]) for name in PARTS}
    found = {name: figures(journal.rows(name)) for name in PARTS}
    head = ["whole", "done", "percent", "pieces", "hours", "per_hour", "whole_hours", "faults"]
    cells = [[name, PARTS[name].unit, *(_number(row.get(key)) for key in head)] for name, row in came.items()]
    print(f"{report.machine_line()}\n\n{report.markdown([['', 'unit', *head], *cells])}\n")
    cells = [[name, key, _number(value)] for name, row in found.items() for key, value in row.items()]
    print(report.markdown([["part", "figure", "value"], *cells]))
    report.write_json(options, came, figures=found)


def _number(value: float | None) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("campaign", __doc__, 1)
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="journal, outside the repository")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these (default: all)")
    parser.add_argument("--hours", type=float, default=float("inf"), help="begin no piece after these")
    parser.add_argument("--piece", nargs="+", type=_size, default=[], metavar="PART=N", help="sizes of pieces")
    parser.add_argument("--whole", nargs="+", type=_size, default=[], metavar="PART=N", help="sizes of whole parts")
    parser.add_argument(
        "--senders", type=report.at_least(1), default=TLS_SENDERS, help="of mtls (default: %(default)s)"
    )
    parser.add_argument("--bug", choices=BUGS, help="what the receiver of `kills` does wrong on purpose")
    return report.run(parser, _work, arguments)


def _size(text: str) -> tuple[str, float]:
    name, _, size = text.partition("=")
    if name not in PARTS or not float(size) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not PART=N")
    return name, float(size)


def _work(options: argparse.Namespace) -> None:
    state = options.state.resolve()
    if state.is_relative_to(_ROOT):
        raise UsageError(f"--state {state} is in the repository")
    options.whole = {name: part.whole for name, part in PARTS.items()} | dict(options.whole)
    sizes = {name: part.quick if options.quick else part.piece for name, part in PARTS.items()}
    options.piece = sizes | dict(options.piece)
    scratch = state / "scratch"
    with Journal(state) as journal:
        _run(journal, options, scratch)


def _run(journal: Journal, options: argparse.Namespace, scratch: Path) -> None:
    # What a killed campaign has left.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(scratch)
    try:
        advance(journal, options, scratch)
    finally:
        tempfile.tempdir = before
    show(journal, options)
    faults = [f"{name}: {fault}" for name in PARTS for row in journal.rows(name) for fault in row["faults"]]
    if faults:
        raise BodywireError("\n".join(faults[:20]))


if __name__ == "__main__":
    sys.exit(main())
