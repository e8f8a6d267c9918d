"""Sessions over a network that does what it likes: `python -m tests.bench.sessions --steps 1000000 --state FILE`.

Hypothesis takes steps at random with both ends of the link in simulated time (`tests.netlab.link_model`): frames,
losses, cuts, outages, blocked UDP, receivers that stop or are replaced.  After each step what a link promises is
checked, and at the end of a session that nothing is missing.  Rows are counted: steps, streams by transport, messages
of several frames, and the fates of frames.

Some 50 sessions are a line of the state file: a campaign goes on where it was ended.  The exit code is 1 after a fault.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.bench import report
from tests.bench.campaigns.campaign import NumberedPart, add_flags, campaign
from tests.netlab.link_model import LinkModel

SESSIONS = 50
"""Of a line of the state file."""
_STEPS = 50


def run(part: NumberedPart) -> dict[str, Any]:
    """Runs sessions; their line of the state file."""
    logging.disable(logging.CRITICAL)
    LinkModel.seen.clear()
    limits = settings(
        max_examples=part.amount,
        stateful_step_count=_STEPS,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    began_s, failure = time.process_time(), ""
    try:
        run_state_machine_as_test(seed(part.seed << 32 | part.number)(LinkModel), settings=limits)
    except Exception as error:  # whatever the link raises is a fault
        failure = "\n".join([f"sessions {part.key}: {error!r}", *getattr(error, "__notes__", [])])
    finally:
        logging.disable(logging.NOTSET)
    cpu_s = round(time.process_time() - began_s, 3)
    return {
        "key": part.key,
        "steps": LinkModel.seen["steps"],
        "failure": failure,
        "cpu_s": cpu_s,
        "seen": LinkModel.seen,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("sessions", __doc__, 1)
    report.add_amount(parser, "--steps", "in the state file at the end", 10**5, 10**4, report.at_least(1))
    add_flags(parser, "lines", jobs=1)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    # Hypothesis ends a part early where it has tried all that it thinks of.
    parts = [NumberedPart(options.seed, number, SESSIONS) for number in range(options.steps // 500 + 1)]
    with campaign(options, "steps", run) as going:
        going.live(parts, options.steps)
        done = going.done()
        seen, cpu_s = sum((Counter(line["seen"]) for line in done), Counter[str]()), sum(line["cpu_s"] for line in done)
        rows = {name: {"count": float(count)} for name, count in seen.items()}
        report.publish(options, rows, f"{seen['steps']} steps, {seen['steps'] / cpu_s:.0f} a second of one core")


if __name__ == "__main__":
    sys.exit(main())
