"""A campaign of attacks beside honest senders: `python -m tests.bench.abuse --minutes 20`.

A receiver with TLS and two accounts serves two honest senders, a live one at two frames a second and one with complete
delivery at one: together a fifth of what it reconstructs.  Attackers with a token of their own, in processes of lower
priority, attack it at random; then processes, files and disk fail and are mended, and daemons start
with something damaged.  Attackers also play the receiver, and odd values of `--camera`.

The table of attacks counts, by family, how many were refused, harmless, accepted wrongly (`wrong`), not handled (an
exception), or not answered in time (`hang`).  The groups of attackers come in turn, a round each; `share` is the live
sender's frame rate beside one of them over that of the calm times in between.  A frame is lost if it was acknowledged,
or with complete delivery captured, and is not in `frames.jsonl`.  Growth is fitted to the receiver's calm times;
`rss_after` is its memory in the last of them over that in the first.

Everything random follows from `--seed`; each attack is logged with a seed of its own, and `--repeat` runs one again.
The exit code is 1 if a criterion does not hold.  Linux only; as root the full disk is real.
"""

import argparse
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from common.errors import BodywireError
from common.text import printable
from tests.bench import report
from tests.bench.abuse.campaign import Campaign
from tests.bench.abuse.outcome import table
from tests.bench.abuse.testbed import Testbed, open_testbed
from tests.bench.abuse.verdict import Verdict, excerpts, judge, medians_kb

_SHORT_MINUTES = 3.0
_SHORT_PATIENCE = 5.0
_MOST_CHARACTERS = 1000


class CriterionFailed(BodywireError):
    """A criterion of the campaign does not hold."""


def _print(verdict: Verdict, attacks: dict[str, dict[str, float]]) -> None:
    print(report.markdown([["", *next(iter(attacks.values()))], *_rows(attacks)]))
    print(f"\n{report.table(verdict.live)}\n\n{report.table(verdict.senders)}\n")
    print(report.table({"receiver": verdict.receiver}))
    print("\nCriteria")
    for criterion in verdict.criteria:
        mark = {True: "holds", False: "FAILS", None: "not judged"}[criterion.holds]
        print(_line(f"{mark:10} {criterion.name}" + (f" ({criterion.detail})" if criterion.detail else "")))
    for title, lines in (
        ("Findings", verdict.faults),
        ("On stderr", [f"{process} ×{count}: {cause}" for (process, cause), count in verdict.alarms.items()]),
    ):
        if lines:
            print(f"\n{title}")
            print("\n".join(map(_line, lines)))


def _line(text: str) -> str:
    return f"  {printable(text, _MOST_CHARACTERS)}"


def _rows(attacks: dict[str, dict[str, float]]) -> list[list[str]]:
    return [[family, *(f"{count:.0f}" for count in row.values())] for family, row in attacks.items()]


def _work(options: argparse.Namespace) -> None:
    minutes = options.minutes
    short = minutes < _SHORT_MINUTES
    with open_testbed(random.Random(options.seed), _SHORT_PATIENCE if short else 1.0) as bed:
        if options.repeat:
            _repeat(bed, options.repeat)
            return
        course = Campaign(bed, 60 * minutes, options.seed).run()
        verdict = judge(bed, course, short=short)
        entries = bed.journal.read()
        attacks = table(entries)
        if options.logs:
            _keep(bed, options.logs)
    print(f"{minutes:g} min, seed {options.seed}, {report.machine_line()}\n")
    _print(verdict, attacks)
    criteria = [asdict(criterion) for criterion in verdict.criteria]
    calm_kb = medians_kb(bed.samples, course.calm)
    more = {
        "attacks": attacks,
        "calm_rss_kb": calm_kb,
        "criteria": criteria,
        "findings": verdict.faults,
        "minutes": minutes,
    }
    systems = {
        **{f"live, {group}": row for group, row in verdict.live.items()},
        **verdict.senders,
        "receiver": verdict.receiver,
    }
    alarms = [{"process": process, "cause": cause, "times": n} for (process, cause), n in verdict.alarms.items()]
    report.write_json(options, systems, **more, alarms=alarms)
    if verdict.failed:
        raise CriterionFailed(f"{', '.join(criterion.name for criterion in verdict.failed)}: see above")


def _repeat(bed: Testbed, attack: str) -> None:
    """Runs one attack of a journal against a fresh receiver; prints its result and what the receiver wrote."""
    command = ["tests.bench.abuse.attacker", "--target", str(bed.target_file), "--repeat", attack]
    subprocess.run([sys.executable, "-m", *command], check=False)
    print("\n".join(map(_line, bed.receiver.errors.splitlines())))


def _keep(bed: Testbed, folder: Path) -> None:
    """Copies the journal, the logs of all processes, and an excerpt for each cause of an alarm."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (bed.folder / "journal", *bed.logs.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    alarms = [alarm for process in bed.processes for alarm in process.alarms()]
    (folder / "alarms.txt").write_text("\n".join(excerpts(alarms)), encoding="utf-8")


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if a criterion does not hold."""
    parser = report.flags("abuse", __doc__, 1)
    report.add_amount(parser, "--minutes", "duration", 20.0, 1.0, float)
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the journal and the logs of all processes")
    parser.add_argument("--repeat", metavar="FAMILY.ATTACK:SEED", help="run one attack of a journal again")
    # The processes started here must not outlive this one.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    return report.run(parser, _work, arguments)


if __name__ == "__main__":
    sys.exit(main())
