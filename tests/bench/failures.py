"""How long does a failure last?  `python -m tests.bench.failures`.

Two hosts (network namespaces), 30 ms each way, 400 kbit/s; a source of 30 frames a second on one, a receiver without
reconstruction on the other.  Each failure is made several times, at moments that differ:

    outage_1s … outage_40s   nothing passes, either way
    receiver_vanished        the receiver is killed and started again while nothing passes: it knows no connection
    receiver_stopped         SIGSTOP, SIGCONT
    receiver_killed          SIGKILL, started again
    sender_stopped           SIGSTOP, SIGCONT
    sender_vanished          the sender is killed while nothing passes, and another one started
    address_changed          the sender's host gets another address

`seen` is from the failure to the moment when the other end takes its peer for gone (a short outage may be over before).
`resumed` is from the moment when all is well again to the first frame shown that was captured after it; where no frame
may be lost, to the first frame shown.  Of frames that a live sender captured while the failure lasted and that were
shown after it, those are late that were on their way when the connection was given up, and stale the others.  Takes
root, for the namespaces.
"""

import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.errors import OutputError
from common.labels import concatenate
from tests.bench import report
from tests.bench.rate import demo_truth
from tests.netlab.hosts import ADDRESSES, Program, TwoHosts, require_hosts
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace

PORT = 50051
DELAY_S = 0.03
_OTHER_ADDRESS = "10.77.0.3"
_STARTING_S = 5.0
# Between two failures, at least; and after the last one.
_PEACE_S = 3.0
_JITTER_S = 0.7
# A failure begins so much after the network's, where both are to come together.
_AFTER_S = 0.02

Figures = dict[str, float]
Episode = tuple[float, float]
Line = dict[str, Any]


class Stage:
    """Both hosts with their programs, and what is noted there.

    Args:
        hosts: entered.
        folder: for the notes; has the labels.
        live: whether the sender drops what is stale.
    """

    def __init__(self, hosts: TwoHosts, folder: Path, live: bool) -> None:
        self._hosts, self._folder, self._live = hosts, folder, live
        self._peer = f"{ADDRESSES[1]}:{PORT}"
        self._addresses = [_OTHER_ADDRESS, ADDRESSES[0]]
        self._programs: list[Program] = []
        self.start_receiver()
        self.start_sender()

    def start_receiver(self) -> None:
        """Starts it, and waits until it listens.

        Raises:
            OutputError: it does not; its error stands above.
        """
        command = ["tests.netlab.logging_receiver", "--listen", self._peer, "--log", str(self._folder / "sink")]
        self.receiver = self._hosts.run(1, command)
        self._programs.append(self.receiver)
        if not self.receiver.next_line_starts_with("listening"):
            raise OutputError("the receiving end did not start; its error stands above")

    def start_sender(self) -> None:
        """Starts it; it connects when it can."""
        command = ["tests.netlab.logging_sender", "--peer", self._peer, "--log", str(self._folder / "source")]
        command += ["--labels", str(self._folder / "labels.npy"), *(["--live"] if self._live else [])]
        self.sender = self._hosts.run(0, command)
        self._programs.append(self.sender)

    def move_sender(self) -> None:
        """Gives its host the other of two addresses."""
        self._hosts.move(0, self._addresses[0])
        self._addresses.reverse()

    def finish(self) -> None:
        """Stops the sender, which delivers what it has.

        Raises:
            OutputError: it failed.
        """
        self.sender.terminate()
        if self.sender.exit_code:
            raise OutputError(f"the sending end ended with exit code {self.sender.exit_code}")

    def close(self) -> None:
        """Ends whatever runs."""
        for program in self._programs:
            if program.exit_code is None:
                program.kill()

    def notes(self, end: str) -> list[Line]:
        """What was noted by `source` or `sink`."""
        return [json.loads(line) for line in (self._folder / end).read_text(encoding="utf-8").splitlines()]


Act = Callable[[Stage], None]


def _nothing(_: Stage) -> None: ...


def _renew_sender(stage: Stage) -> None:
    stage.sender.kill()
    stage.start_sender()


def _renew_receiver(stage: Stage) -> None:
    stage.receiver.kill()
    stage.start_receiver()


@dataclass(frozen=True, slots=True)
class Failure:
    """What goes wrong, and what is asked.

    Args:
        lasts_s: from `begin` to `end`.
        times: how often; and how often with `--quick`.
        out: whether nothing passes meanwhile.
        live: the sender drops what is stale; else no frame may be lost.
        witness: who takes the other end for gone, `source` or `sink`.
    """

    lasts_s: float
    times: tuple[int, int]
    begin: Act = _nothing
    end: Act = _nothing
    out: bool = False
    live: bool = False
    witness: str = "source"


FAILURES = {
    "outage_1s": Failure(1.0, (10, 4), out=True, live=True),
    "outage_5s": Failure(5.0, (6, 3), out=True, live=True),
    "outage_40s": Failure(40.0, (2, 1), out=True, live=True),
    "receiver_vanished": Failure(3.0, (4, 2), _renew_receiver, out=True),
    "receiver_stopped": Failure(
        3.0,
        (4, 2),
        lambda stage: stage.receiver.send_signal(signal.SIGSTOP),
        lambda stage: stage.receiver.send_signal(signal.SIGCONT),
    ),
    "receiver_killed": Failure(1.0, (4, 2), lambda stage: stage.receiver.kill(), Stage.start_receiver),
    "sender_stopped": Failure(
        3.0,
        (4, 2),
        lambda stage: stage.sender.send_signal(signal.SIGSTOP),
        lambda stage: stage.sender.send_signal(signal.SIGCONT),
        witness="sink",
    ),
    "sender_vanished": Failure(3.0, (4, 2), _renew_sender, out=True, witness="sink", live=True),
    "address_changed": Failure(0.0, (4, 2), Stage.move_sender, live=True),
}


def episodes(failure: Failure, times: int, rng: random.Random) -> list[Episode]:
    """When the failure begins and ends, in seconds after the network began."""
    made, at_s = [], _STARTING_S
    for _ in range(times):
        begin_s = at_s + rng.uniform(0, _JITTER_S)
        made.append((begin_s, begin_s + failure.lasts_s))
        at_s = begin_s + failure.lasts_s + _PEACE_S
    return made


@contextmanager
def stage(
    failure: Failure, planned: Sequence[Episode], labels: FloatArray, kbps: float
) -> Iterator[tuple[Stage, float]]:
    """The hosts with their programs, and when the network began."""
    outages = tuple(planned) if failure.out else ()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.save(folder / "labels.npy", labels)
        shape = Shape(Trace.constant(kbps), DELAY_S, outages=outages)
        hosts = stack.enter_context(TwoHosts(shape, shape))
        made = Stage(hosts, folder, failure.live)
        stack.callback(made.close)
        yield made, hosts.began_at_s


def play(failure: Failure, planned: Sequence[Episode], labels: FloatArray, kbps: float) -> Figures:
    """Makes a failure several times.

    Raises:
        OutputError: an end did not start, or failed otherwise than it was made to.
    """
    happened = []
    with stage(failure, planned, labels, kbps) as (on, began_s):
        for begin_s, end_s in planned:
            _sleep_until(began_s + begin_s + (_AFTER_S if failure.out else 0.0))
            began_at_s = time.time()
            failure.begin(on)
            _sleep_until(began_s + end_s)
            failure.end(on)
            # What is well again when a program has started, or at once, is not well before.
            happened.append((began_at_s, began_s + end_s if failure.out else max(time.time(), began_at_s)))
        time.sleep(_PEACE_S)
        on.finish()
        return judge(on.notes("source"), on.notes("sink"), happened, failure)


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.time()))


def judge(source: Sequence[Line], sink: Sequence[Line], happened: Sequence[Episode], failure: Failure) -> Figures:
    """Reads off the notes what became of frames and connections.

    Args:
        happened: (begin, end) of each time, seconds since the epoch.
    """
    shown = [line for line in sink if line["what"] == "shown"]
    seen, resumed, late, stale = [], [], 0, 0
    sent_s = {line["seq"]: line["at"] for line in source if line["what"] == "sent"}
    gone = [line["at"] for line in (source if failure.witness == "source" else sink) if line["what"] in _GONE]
    limits = [*(begin for begin, _ in happened[1:]), float("inf")]
    for (begin_s, end_s), next_s in zip(happened, limits, strict=True):
        seen_s = min((at for at in gone if begin_s <= at < next_s), default=float("inf"))
        seen.append(seen_s - begin_s)
        after = [line for line in shown if end_s <= line["at"] < next_s]
        fresh = [line["at"] for line in after if line["captured_at"] >= end_s or not failure.live]
        resumed.append(min(fresh, default=float("inf")) - end_s)
        old = [line["seq"] for line in after if begin_s <= line["captured_at"] < end_s]
        late += sum(sent_s[sequence] < seen_s for sequence in old)
        stale += sum(sent_s[sequence] >= seen_s for sequence in old)
    figures = {
        f"{name}_{word}_s": value
        for name, values in (("seen", seen), ("resumed", resumed))
        for word, value in (("p50", float(np.median(values))), ("max", max(values)))
    }
    times_shown = Counter((line["session"], line["seq"]) for line in shown)
    figures |= {"times": float(len(happened)), "duplicate_frames": float(sum(n - 1 for n in times_shown.values()))}
    if failure.live:
        return figures | {"late_frames": float(late), "stale_frames": float(stale)}
    captured = {line["seq"] for line in source if line["what"] == "captured"}
    return figures | {"lost_frames": float(len(captured - {line["seq"] for line in shown}))}


_GONE = ("disconnected", "left")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("failures", "Measure how long failures of network and programs last for a viewer.", 1)
    parser.add_argument("--kbps", type=float, default=400.0, help="what passes, each way (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=FAILURES, default=list(FAILURES), help="(default: all)")
    options = parser.parse_args(arguments)

    def work() -> None:
        require_hosts()
        people = demo_truth(LabelSpace.load(), options.seed).people
        labels = np.stack([concatenate(person.labels) for person in people])
        systems: dict[str, Figures] = {}
        for name in options.only:
            failure = FAILURES[name]
            planned = episodes(failure, failure.times[options.quick], random.Random(f"{options.seed} {name}"))
            systems[name] = play(failure, planned, labels, options.kbps)
            report.tell(f"{name}: {systems[name]}")
        print(f"{options.kbps:g} kbit/s, {2e3 * DELAY_S:g} ms there and back, {report.machine_line()}\n")
        print(report.table(systems))
        report.write_json(options.json, "failures", options.seed, systems)

    return report.run("failures", work)


if __name__ == "__main__":
    sys.exit(main())
