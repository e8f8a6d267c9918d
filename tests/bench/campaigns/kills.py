"""Complete delivery while processes are killed at chosen system calls: `python -m tests.bench.kills --state FILE`.

Receivers and senders without networks, and changes of accounts, run on disks that count their calls
(`tests.netlab.faults.volatile_disk`).  Each life of a process ends at another call: before it, after half of a write,
or after the disk was full; what it had not synced is lost, or some of it, or nothing.  Meanwhile there is a condition:

    alone      nothing else happens              cut        all connections are cut for a moment
    stopped    the other end is stopped          backlog    frames wait, and leave in bundles
    later      the clock is set on by an hour    datagrams  QUIC is blocked, and the session goes on over gRPC
    earlier    and back

After each life the records are compared with what the sender was told.  A frame is `lost` if it was acknowledged, or
captured, and is not recorded, `doubled`, `misplaced` behind a later one, or `wrong` with the record of another or
without its mesh; a change of accounts is `lost` if it was committed, and `wrong` if it is there in part.  An episode of
lives is a line of the state file: a campaign goes on where it was ended.  The exit code is 1 if there is a fault.
"""

import argparse
import gc
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from common.errors import OutputError
from tests.bench import report
from tests.bench.campaigns.campaign import add_flags, campaign
from tests.netlab.faults import durable_receiver
from tests.netlab.faults.audit import FAULTS, FaultFound
from tests.netlab.faults.lives import STRIDE, Episode, Lab
from tests.netlab.faults.volatile_disk import KINDS

CONDITIONS = ("alone", "stopped", "later", "earlier", "cut", "backlog", "datagrams")


def episodes(rounds: int, seed: int) -> list[Episode]:
    """All episodes, in an order that the seed decides; every call is tried once under each condition in a round."""
    links = product(("receiver", "sender"), CONDITIONS, KINDS)
    ways = [*links, *product(("accounts",), ("alone",), KINDS)]
    planned = []
    for number in range(rounds):
        part = [Episode(*way, first, number) for way in ways for first in range(1, STRIDE + 1)]
        random.Random(f"{seed} {number}").shuffle(part)
        planned += part
    return planned


def run(episode: Episode, bug: str | None) -> dict[str, Any]:
    """Runs an episode; what it has found, for the state file. The directory of one with a fault stays."""
    folder, began_s, failure = tempfile.mkdtemp(), time.monotonic(), ""
    lab = Lab(Path(folder), episode, bug)
    try:
        lab.live()
    except (FaultFound, OutputError) as error:
        failure = f"{episode.key} in {folder}: {error}"
    else:
        shutil.rmtree(folder)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(each.ru_utime + each.ru_stime for each in used)
    figures = {"cpu_s": round(cpu_s, 2), "wall_s": round(time.monotonic() - began_s, 2)}
    return {"key": episode.key, "kills": lab.kills, **figures, "failure": failure, "points": lab.points}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("kills", __doc__, 1)
    report.add_amount(parser, "--kills", "in the state file at the end", 20_000, 300, report.at_least(1))
    add_flags(parser, "episodes", jobs=4)
    parser.add_argument("--bug", choices=durable_receiver.BUGS, help="break the receiver on purpose")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    gc.freeze()
    began_s = time.monotonic()
    with campaign(options, "kills", partial(run, bug=options.bug)) as going:
        before = going.amount
        going.live(episodes(options.kills // 5000 + 1, options.seed), options.kills)
        done, kills = going.done(), going.amount
        rate = 3600 * (kills - before) / (time.monotonic() - began_s)
        alone = 7200 * kills / sum(row["cpu_s"] for row in done)
        ends = Counter(row["key"].split()[0] for row in done for _ in range(row["kills"]))
        sides = ", ".join(f"{count} of {end}" for end, count in ends.items())
        head = f"{kills} kills ({sides}), {rate:.0f} an hour now, {alone:.0f} with two cores to itself"
        report.publish(options, table(done), head)


def table(done: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Kills and faults by point."""
    rows: dict[str, list[int]] = {}
    for point, counts in (each for row in done for each in row["points"].items()):
        rows[point] = [a + b for a, b in zip(rows.get(point, [0] * len(counts)), counts, strict=True)]
    return {point: dict(zip(("kills", *FAULTS), map(float, rows[point]), strict=True)) for point in sorted(rows)}


if __name__ == "__main__":
    sys.exit(main())
