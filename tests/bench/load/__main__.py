"""A receiver under load: `python -m tests.bench.load PART`.

overload  twice what the receiver carries, by more senders, people, sessions and browsers, and beside a client that
          asks for the page all the time: people a second that were asked for and served, fairness among the honest
          accounts that are served (Jain's index, and the least share of what is due to one), age of their frames,
          processor cores; and what was said to the others
costs     what each message and HTTP endpoint costs the receiver, one kind after the other, as often as four clients
          of one address can send it: bytes of one, how many a second, milliseconds of the processor, peak of the
          memory, bytes on the disk a byte
soak      both daemons with light streams over mutual TLS, four of them with a person, ten browsers that watch, 140
          uploads and then one a minute, logs that are rotated and sessions that end and begin; `--state FILE` goes on
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common.errors import BodywireError
from tests.bench import report
from tests.bench.load import costs, overload, soak
from tests.netlab.faults.audit import rows_in

_LEAST_FAIRNESS = 0.95


class BoundExceeded(BodywireError):
    """The receiver did not keep a bound."""


def _overload(options: argparse.Namespace) -> None:
    flat_out, _ = overload.measure(overload.FLAT_OUT, options.seconds)
    capacity, systems, unfair = flat_out["served_per_s"], {"flat out": flat_out}, []
    answers: dict[str, dict[str, int]] = {}
    for name, phase in overload.phases(capacity).items():
        report.progress(name)
        systems[name], said = overload.measure(phase, options.seconds)
        answers[name] = dict(said)
        if systems[name]["jain"] < _LEAST_FAIRNESS:
            unfair.append(name)
    report.publish(options, systems, f"{options.seconds:g} s each", said=answers)
    print("\n", *(f"- {name}: {count} x {text}\n" for name, each in answers.items() for text, count in each.items()))
    if unfair:
        raise BoundExceeded(f"Jain's index of honest accounts is below {_LEAST_FAIRNESS}: {', '.join(unfair)}")


def _costs(options: argparse.Namespace) -> None:
    report.publish(options, costs.measure(options.seconds / 10), f"{options.seconds / 10:g} s each")


def _soak(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = options.state or Path(folder) / "state"
        if options.minutes:
            soak.piece(state, options.minutes, options.streams, options.fps)
        rows = rows_in(state)
    found = {name: soak.trend(rows, name) for name in soak.COLUMNS}
    table = {name: {"mean": each.mean, "per_hour": each.per_hour, "error": each.error} for name, each in found.items()}
    ends = {row["piece"]: row for row in rows}.values()
    head = f"{sum(row['hours'] for row in ends):.2f} h in {len(ends)} pieces, {sum(r['frames'] for r in rows)} frames"
    report.publish(options, table, head)
    print(f"\n{rows[-1]['answers']}; {rows[-1]['said']}")
    if options.plot:
        soak.plot(options.plot, rows)
    if growing := [name for name, each in found.items() if each.grows]:
        raise BoundExceeded(f"grows by more than a twentieth a day: {', '.join(growing)}")


PARTS = {"overload": _overload, "costs": _costs, "soak": _soak}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("load", __doc__, 0)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--state", type=Path, help="file with the soak so far (default: a new one)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the soak")
    report.add_amount(parser, "--minutes", "of a piece of the soak; 0 shows those of before", 60.0, 4.0, float)
    report.add_amount(parser, "--seconds", "of a phase of the overload", 30.0, 8.0, float)
    report.add_amount(parser, "--streams", "of the soak", 200, 40)
    report.add_amount(parser, "--fps", "of each stream", 5.0, 1.0, float)
    return report.run(parser, lambda options: PARTS[options.part](options), arguments)


if __name__ == "__main__":
    sys.exit(main())
