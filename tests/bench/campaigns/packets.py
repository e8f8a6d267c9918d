"""Damaged and hostile packets, messages and states: `python -m tests.bench.packets --count 100000000 --state FILE`.

Mutations of the inputs in `tests/golden`, which were found by coverage, are decoded one after the other.  Rows are what
decodes them (`tests.netlab.hostile.fuzz`); the first row has packets with a check that does not fit, as damage leaves
them, the second the same with the right check, in states that those before have led to.

    inputs      that were decoded
    taken       share that was not refused: all that was checked to be right
    per_s       inputs a second of one core, with their mutation and checks
    slowest_ms  the most time that one took, of its thread
    faults      neither refused with the documented error nor right

100,000 inputs are a line of the state file: a campaign goes on where it was ended.  The exit code is 1 after a fault.
"""

import argparse
import gc
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.bench import report
from tests.bench.campaigns.campaign import NumberedPart, add_flags, campaign
from tests.netlab.hostile import fuzz

BATCH = 100_000
# Inputs of a target in a batch. Packets with right checks take fifty times as long as others.
SHARES: Mapping[str, int] = {
    "packets": 40_500,
    "packets with right checks": 1_000,
    "messages of senders": 22_000,
    "messages of receivers": 22_000,
    "datagrams of senders": 5_500,
    "datagrams of receivers": 5_500,
    "kinds": 3_000,
    "states": 500,
}
# Most time for one input, and memory for a batch: a bundle of hostile frames takes some 20 ms.
_MOST_MS, _MOST_MB = 500.0, 256.0
# Shares of the decoders of `fuzz.PEOPLE`, and random bytes behind a packet that would not have enough.
_DECODERS, _TAIL = (0.35, 0.5, 0.12, 0.03), 48
# Between two returns to the first state.
_RESET = 64


class Fuzzer:
    """All targets, and the inputs that are mutated: four times as often those that are taken.

    Attributes:
        taken: for each target, how many inputs it takes (True) and refuses.
    """

    def __init__(self) -> None:
        self._parents = fuzz.of_target(fuzz.read_corpus())
        self.taken: dict[str, Counter[bool]] = {}
        for name, parents in self._parents.items():
            target, verdicts = fuzz.TARGETS[name](), []
            for data in parents:
                target.reset()
                verdicts.append(target.take(data))
            self.taken[name] = Counter(verdicts)
            parents += 3 * [data for data, taken in zip(parents, verdicts, strict=True) if taken]

    def run(self, batch: NumberedPart) -> dict[str, Any]:
        """Decodes the inputs of a batch; its line of the state file."""
        rng, before_kb = np.random.default_rng([batch.seed, batch.number]), _peak_kb()
        rows, failure = {}, ""
        for name, share in SHARES.items():
            rows[name], failed = self._decode(name, rng, max(share * batch.amount // BATCH, 1))
            failure = failure or (failed and f"batch {batch.key}, {name}, {failed}")
        grown_mb = (_peak_kb() - before_kb) / 1024
        if grown_mb > _MOST_MB:
            failure = failure or f"batch {batch.key} takes {grown_mb:.0f} MB"
        inputs = sum(row["inputs"] for row in rows.values())
        return {"key": batch.key, "inputs": inputs, "failure": failure, "rows": rows, "grown_mb": round(grown_mb, 1)}

    def _decode(self, name: str, rng: np.random.Generator, count: int) -> tuple[dict[str, float], str]:
        """Figures of one target, and its first fault."""
        began_s, of = time.thread_time(), name.removesuffix(" with right checks")
        target, inputs = fuzz.TARGETS[of](), fuzz.mutated(rng, self._parents[of], count)
        if of == "packets":
            inputs = _as_packets(rng, inputs, raw=name == of)
        taken, faults, slowest_s, first, last_s = 0, 0, 0.0, "", time.thread_time()
        for number, data in enumerate(inputs):
            if number % _RESET == 0:
                target.reset()
            try:
                taken += target.take(data)
            except Exception as error:  # whatever is raised, is not the documented error
                faults += 1
                first = first or f"input {number}, {data.hex()}: {error!r}"
                target = fuzz.TARGETS[of]()
            now_s = time.thread_time()
            if now_s - last_s > slowest_s:
                slowest_s, slowest = now_s - last_s, number
            last_s = now_s
        if slowest_s * 1e3 > _MOST_MS:
            faults, first = faults + 1, first or f"input {slowest}, {inputs[slowest].hex()}: {slowest_s:.2f} s"
        used = {"cpu_s": round(last_s - began_s, 3), "slowest_ms": round(slowest_s * 1e3, 2)}
        return {"inputs": count, "taken": taken, "faults": faults, **used}, first


def _as_packets(rng: np.random.Generator, inputs: Sequence[bytes], *, raw: bool) -> list[bytes]:
    """Inputs for chosen decoders; with right checks most also fit, and half are longer."""
    decoders = rng.choice(len(fuzz.PEOPLE), len(inputs), p=_DECODERS)
    bundles = np.where(rng.random(len(inputs)) < 0.1, rng.integers(8, size=len(inputs)), 0)
    flags = fuzz.RAW if raw else np.where(rng.random(len(inputs)) < 0.8, fuzz.FITS, 0)
    heads, tails = (decoders | bundles << 2 | flags).astype(np.uint8).tobytes(), rng.bytes(_TAIL * len(inputs))
    long = (not raw) & (rng.random(len(inputs)) < 0.5)
    return [
        heads[number : number + 1] + data[1:] + tails[number * _TAIL : (number + bool(long[number])) * _TAIL]
        for number, data in enumerate(inputs)
    ]


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table(done: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Figures of each target, and of all together."""
    total: dict[str, Counter[str]] = {}
    slowest_ms: Counter[str] = Counter()
    for name, row in (each for line in done for each in line["rows"].items()):
        for of in (name, "all"):
            total.setdefault(of, Counter()).update(row)
            slowest_ms[of] = max(slowest_ms[of], row["slowest_ms"])
    return {
        of: {
            "inputs": figures["inputs"],
            "taken_share": figures["taken"] / figures["inputs"],
            "per_s": figures["inputs"] / figures["cpu_s"],
            "slowest_ms": slowest_ms[of],
            "faults": figures["faults"],
        }
        for of, figures in total.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("packets", __doc__, 1)
    report.add_amount(parser, "--count", "inputs in the state file at the end", 10**7, 2 * BATCH, report.at_least(1))
    add_flags(parser, "batches", jobs=1)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    fuzzer = Fuzzer()
    gc.freeze()
    batches = [NumberedPart(options.seed, number, BATCH) for number in range(-(-options.count // BATCH))]
    with campaign(options, "inputs", fuzzer.run) as going:
        going.live(batches, options.count)
        systems = table(going.done())
        grown_mb = max(line["grown_mb"] for line in going.done())
        head = f"{systems['all']['inputs']:.0f} inputs; a batch takes {grown_mb:.0f} MB at most"
        report.publish(options, systems, head)


if __name__ == "__main__":
    sys.exit(main())
