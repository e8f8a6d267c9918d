"""Times to detect failures and to recover from them: `python -m tests.bench.failures`.

Two hosts (network namespaces) are connected by a link of 30 ms each way and 400 kbit/s.  One runs a source of 30 frames
a second, the other a receiver without reconstruction.  Each failure is caused several times, at varying moments:

    outage_1s … outage_40s   all packets are lost, in both directions
    receiver_vanished        during an outage the receiver is killed and restarted: it does not know the connection
    receiver_stopped         SIGSTOP, SIGCONT
    receiver_killed          SIGKILL, restart
    receiver_disk_full       the receiver cannot write any frame
    sender_stopped           SIGSTOP, SIGCONT
    sender_vanished          during an outage the sender is killed, and another one is started
    address_changed          the sender's host gets another address

`detected` is the time from the failure until the other end reports its peer as lost (a short outage may end earlier).
`resumed` is the time from the end of the failure to the first frame shown that was captured after it or, where no frame
may be lost, to the first frame shown.  Frames that a live sender captured during the failure and that were shown after
it are late if they were in flight when the connection was given up, and stale otherwise.  Needs root, for the
namespaces.
"""

import argparse
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
from tests.bench.bytes.rate import demo_truth
from tests.netlab.hosts import ADDRESSES, Program, TwoHosts, require_hosts
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace

PORT = 50051
DELAY_S = 0.03
_OTHER_ADDRESS = "10.77.0.3"
_STARTING_S = 5.0
_JITTER_S = 0.7
# Delay of a program's failure after the start of an outage, where both are to happen together.
_AFTER_OUTAGE_S = 0.02

Figures = dict[str, float]
Episode = tuple[float, float]
Line = dict[str, Any]


class Testbed:
    """Both hosts with their programs and logs.

    Args:
        folder: for the logs; contains the labels.
        live: whether the sender drops stale frames.
    """

    def __init__(self, hosts: TwoHosts, folder: Path, live: bool) -> None:
        self._hosts, self._folder, self._live = hosts, folder, live
        self._peer = f"{ADDRESSES[1]}:{PORT}"
        self._addresses = [_OTHER_ADDRESS, ADDRESSES[0]]
        self._programs: list[Program] = []
        self._disk_full = folder / "disk-full"
        self.start_receiver()
        self.start_sender()

    def start_receiver(self) -> None:
        """Starts the receiver and waits until it listens.

        Raises:
            OutputError: it did not start; its error is printed above.
        """
        command = ["tests.netlab.logging_receiver", "--listen", self._peer, "--log", str(self._folder / "sink")]
        command += ["--full-while", str(self._disk_full)]
        self.receiver = self._hosts.run(1, command)
        self._programs.append(self.receiver)
        if not self.receiver.next_line_starts_with("listening"):
            raise OutputError("the receiver did not start; see its error above")

    def start_sender(self) -> None:
        """Starts the sender, which keeps trying to connect."""
        command = ["tests.netlab.logging_sender", "--peer", self._peer, "--log", str(self._folder / "source")]
        command += ["--labels", str(self._folder / "labels.npy"), *(["--live"] if self._live else [])]
        self.sender = self._hosts.run(0, command)
        self._programs.append(self.sender)

    def fill_disk(self) -> None:
        """Fails the receiver's writes."""
        self._disk_full.touch()

    def free_disk(self) -> None:
        """Ends `fill_disk`."""
        self._disk_full.unlink()

    def move_sender(self) -> None:
        """Gives the sender's host the other of two addresses."""
        self._hosts.move(0, self._addresses[0])
        self._addresses.reverse()

    def finish(self) -> None:
        """Stops the sender, which first delivers its last frames.

        Raises:
            OutputError: the sender failed.
        """
        self.sender.terminate()
        if self.sender.exit_code:
            raise OutputError(f"the sender ended with exit code {self.sender.exit_code}")

    def close(self) -> None:
        for program in self._programs:
            if program.exit_code is None:
                program.kill()

    def log(self, end: str) -> list[Line]:
        return [json.loads(line) for line in (self._folder / end).read_text(encoding="utf-8").splitlines()]


Action = Callable[[Testbed], None]


def _nothing(_: Testbed) -> None: ...


def _replace_sender(testbed: Testbed) -> None:
    testbed.sender.kill()
    testbed.start_sender()


def _replace_receiver(testbed: Testbed) -> None:
    testbed.receiver.kill()
    testbed.start_receiver()


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failure.

    Args:
        duration_s: from `begin` to `end`.
        outage: all packets are lost meanwhile.
        live: the sender drops stale frames; otherwise no frame may be lost.
        detected_by: the end that reports its peer as lost, `source` or `sink`.
        recovery_s: shortest time between two repetitions, and after the last one.
    """

    duration_s: float
    times: tuple[int, int]
    begin: Action = _nothing
    end: Action = _nothing
    outage: bool = False
    live: bool = False
    detected_by: str = "source"
    recovery_s: float = 3.0


FAILURES = {
    "outage_1s": Failure(1.0, (10, 4), outage=True, live=True),
    "outage_5s": Failure(5.0, (6, 3), outage=True, live=True),
    "outage_40s": Failure(40.0, (2, 1), outage=True, live=True),
    "receiver_vanished": Failure(3.0, (4, 2), _replace_receiver, outage=True),
    "receiver_stopped": Failure(
        3.0,
        (4, 2),
        lambda testbed: testbed.receiver.send_signal(signal.SIGSTOP),
        lambda testbed: testbed.receiver.send_signal(signal.SIGCONT),
    ),
    "receiver_killed": Failure(1.0, (4, 2), lambda testbed: testbed.receiver.kill(), Testbed.start_receiver),
    "receiver_disk_full": Failure(10.0, (4, 2), Testbed.fill_disk, Testbed.free_disk, recovery_s=6.0),
    "sender_stopped": Failure(
        3.0,
        (4, 2),
        lambda testbed: testbed.sender.send_signal(signal.SIGSTOP),
        lambda testbed: testbed.sender.send_signal(signal.SIGCONT),
        detected_by="sink",
    ),
    "sender_vanished": Failure(3.0, (4, 2), _replace_sender, outage=True, detected_by="sink", live=True),
    "address_changed": Failure(0.0, (4, 2), Testbed.move_sender, live=True),
}


def episodes(failure: Failure, times: int, rng: random.Random) -> list[Episode]:
    """Begin and end of each repetition, in seconds of the link's time."""
    planned, at_s = [], _STARTING_S
    for _ in range(times):
        begin_s = at_s + rng.uniform(0, _JITTER_S)
        planned.append((begin_s, begin_s + failure.duration_s))
        at_s = begin_s + failure.duration_s + failure.recovery_s
    return planned


@contextmanager
def start_testbed(
    failure: Failure, planned: Sequence[Episode], labels: FloatArray, kbps: float
) -> Iterator[tuple[Testbed, float]]:
    """Starts the hosts with their programs; yields them and the time when the link began."""
    outages = tuple(planned) if failure.outage else ()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.save(folder / "labels.npy", labels)
        shape = Shape(Trace.constant(kbps), DELAY_S, outages=outages)
        hosts = stack.enter_context(TwoHosts(shape, shape))
        testbed = Testbed(hosts, folder, failure.live)
        stack.callback(testbed.close)
        yield testbed, hosts.began_at_s


def measure(failure: Failure, planned: Sequence[Episode], labels: FloatArray, kbps: float) -> Figures:
    """Causes a failure several times.

    Raises:
        OutputError: a program did not start, or failed otherwise than intended.
    """
    actual = []
    with start_testbed(failure, planned, labels, kbps) as (testbed, began_s):
        for begin_s, end_s in planned:
            _sleep_until(began_s + begin_s + (_AFTER_OUTAGE_S if failure.outage else 0.0))
            began_at_s = time.time()
            failure.begin(testbed)
            _sleep_until(began_s + end_s)
            failure.end(testbed)
            # Without an outage the failure ends when the program has started again.
            actual.append((began_at_s, began_s + end_s if failure.outage else max(time.time(), began_at_s)))
        time.sleep(failure.recovery_s)
        testbed.finish()
        return evaluate(testbed.log("source"), testbed.log("sink"), actual, failure)


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.time()))


def evaluate(source: Sequence[Line], sink: Sequence[Line], actual: Sequence[Episode], failure: Failure) -> Figures:
    """Evaluates the logs of both ends.

    Args:
        actual: (begin, end) of each repetition, seconds since the epoch.
    """
    shown = [line for line in sink if line["what"] == "shown"]
    detected, resumed, late, stale = [], [], 0, 0
    sent_s = {line["seq"]: line["at"] for line in source if line["what"] == "sent"}
    lost = [line["at"] for line in (source if failure.detected_by == "source" else sink) if line["what"] in _LOST]
    limits = [*(begin for begin, _ in actual[1:]), float("inf")]
    for (begin_s, end_s), next_s in zip(actual, limits, strict=True):
        detected_s = min((at for at in lost if begin_s <= at < next_s), default=float("inf"))
        detected.append(detected_s - begin_s)
        after = [line for line in shown if end_s <= line["at"] < next_s]
        fresh = [line["at"] for line in after if line["captured_at"] >= end_s or not failure.live]
        resumed.append(min(fresh, default=float("inf")) - end_s)
        captured_before = [line["seq"] for line in after if begin_s <= line["captured_at"] < end_s]
        late += sum(sent_s[sequence] < detected_s for sequence in captured_before)
        stale += sum(sent_s[sequence] >= detected_s for sequence in captured_before)
    figures = {
        f"{name}_{statistic}_s": value
        for name, values in (("detected", detected), ("resumed", resumed))
        for statistic, value in (("p50", float(np.median(values))), ("max", max(values)))
    }
    times_shown = Counter((line["session"], line["seq"]) for line in shown)
    figures |= {"times": float(len(actual)), "duplicate_frames": float(sum(n - 1 for n in times_shown.values()))}
    if failure.live:
        return figures | {"late_frames": float(late), "stale_frames": float(stale)}
    captured = {line["seq"] for line in source if line["what"] == "captured"}
    return figures | {"lost_frames": float(len(captured - {line["seq"] for line in shown}))}


_LOST = ("disconnected", "left")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("failures", __doc__, 1)
    parser.add_argument("--kbps", type=float, default=400.0, help="capacity in each direction (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=FAILURES, default=list(FAILURES), help="failures to cause (default: all)"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    people = demo_truth(LabelSpace.load(), options.seed).people
    labels = np.stack([concatenate(person.labels) for person in people])
    systems: dict[str, Figures] = {}
    for name in options.only:
        failure = FAILURES[name]
        planned = episodes(failure, failure.times[options.quick], random.Random(f"{options.seed} {name}"))
        systems[name] = measure(failure, planned, labels, options.kbps)
        report.progress(f"{name}: {systems[name]}")
    report.publish(options, systems, f"{options.kbps:g} kbit/s, {2e3 * DELAY_S:g} ms round trip")


if __name__ == "__main__":
    sys.exit(main())
