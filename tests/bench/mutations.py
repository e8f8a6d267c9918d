"""Mutated packets through the frame decoder, by the million: `python -m tests.bench.mutations --count 10000000`.

Every packet of a clip of two people is mutated in nine ways and decoded at the end of the clip.  A mutation may only be
refused as an error of the wire, or pass its check by accident.  The check has 16 bits, so one in 65,536 random changes
passes; the check of each accepted one is computed again, bit by bit.  Of all mutations that reach the check fewer pass:
a CRC finds every change within 16 bits, and there are so few cuts, deletions, swaps and splices of 24 packets that most
of them occur many times.  A packet that a mutation leaves as it was is not decoded.

Mutations come in chunks, each with its own seed: the figures do not depend on the number of workers, and a run with
--state goes on where the one before ended.  The exit code is 1 if a mutation raised another error, or if an accepted
one fails its check or has content out of range.
"""

import json
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, Self

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CHECK_SIZE, code_references
from common.codec.range_coder import SymbolReader
from common.errors import MalformedPacket, MissingReference, SourceError, UsageError, WireError
from common.frames import check_frame
from common.io.atomic_write import atomic_write
from tests.bench import report
from tests.bench.abuse.supervision import resident_kb
from tests.support.packet_mutations import mutated, stream

SEED: Final = 41
COUNT, QUICK_COUNT = 10_000_000, 300_000
CHUNK: Final = 20_000
_PROGRESS_S: Final = 30.0
_POLYNOMIAL: Final = 0x1021  # CRC-16/XMODEM
# Faults that are kept as examples.
_KEPT_FAULTS: Final = 5
# The error of the second check, which only key frames have.
_SECOND_CHECK: Final = "key frame leads to another state"
# What becomes of a mutation: all but the last three before or at the check.
OUTCOMES: Final = (
    "unchanged", "reference_missing", "malformed", "check_failed", "passed_but_refused", "accepted", "fault",
)  # fmt: skip


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM bit by bit, independently of the codec's."""
    register = 0
    for byte in data:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ (_POLYNOMIAL if register & 0x8000 else 0)) & 0xFFFF
    return register


def passes_check(decoder: FrameCodec, payload: bytes, sequence: int) -> bool:
    """Whether a packet names references that `decoder` has, and its check is right for them."""
    body = payload[:-CHECK_SIZE]
    try:
        lags = code_references(SymbolReader(decoder._tables, body), None)
        seed = decoder._seed(sequence, decoder._find_references(sequence, lags))
    except WireError:
        return False
    return crc16(seed + body) == int.from_bytes(payload[-CHECK_SIZE:], "little")


def outcome_of(decoder: FrameCodec, payload: bytes, sequence: int) -> tuple[str, str]:
    """The outcome of a changed packet, and what is wrong with that; an empty string if nothing is."""
    try:
        decoded = decoder.decode(payload, sequence)
    except MissingReference:
        return "reference_missing", ""
    except WireError as refusal:
        # All other refusals come before the check or are its own.
        behind = isinstance(refusal, MalformedPacket) or _SECOND_CHECK in str(refusal)
        passed = behind and passes_check(decoder, payload, sequence)
        before = isinstance(refusal, MalformedPacket) and not passed
        return "passed_but_refused" if passed else "malformed" if before else "check_failed", ""
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"
    try:
        check_frame(decoded.frame)
    except ValueError as error:
        return "fault", f"accepted with content out of range: {error}"
    # The references are there still: a decoder keeps the states of 64 frames.
    return ("accepted", "") if passes_check(decoder, payload, sequence) else ("fault", "accepted with a wrong check")


@dataclass(frozen=True)
class Chunk:
    """The result of one chunk: outcomes, faults, and the process that decoded it with its memory afterwards."""

    outcomes: Counter[str]
    faults: list[str]
    process: int
    resident_kb: int


def decode_chunk(seed: int, chunk: int) -> Chunk:
    """Decodes the mutations of one chunk."""
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    rng = Random(f"{seed} {chunk}")
    decoder, packets, _ = stream()
    for number in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        sequence, payload = mutated(number, rng, packets)
        if payload == packets[sequence]:
            outcomes["unchanged"] += 1
            continue
        outcome, fault = outcome_of(decoder, payload, sequence)
        outcomes[outcome] += 1
        if fault:
            faults.append(f"{fault} (frame {sequence}, packet {payload.hex()})")
        if outcome in ("accepted", "fault"):
            decoder, *_ = stream()
    return Chunk(outcomes, faults[:_KEPT_FAULTS], os.getpid(), resident_kb(os.getpid()))


class Tally:
    """Outcomes of all chunks so far.

    Args:
        seed: of the mutations.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.chunks = seed, 0
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []

    @classmethod
    def read(cls, path: Path | None, seed: int) -> Self:
        """The tally in a file, or a new one if there is none.

        Raises:
            SourceError: the file is damaged.
            UsageError: it belongs to another seed.
        """
        tally = cls(seed)
        if path is None or not path.exists():
            return tally
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            written_seed, tally.chunks = int(data["seed"]), int(data["chunks"])
            tally.outcomes, tally.faults = Counter(data["outcomes"]), list(data["faults"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path} is no state of this bench: name another file") from error
        if written_seed != seed:
            raise UsageError(f"{path} has mutations of seed {written_seed}: use --seed {written_seed} or another file")
        return tally

    def add(self, chunk: Chunk) -> None:
        """Adds the next chunk."""
        self.chunks += 1
        self.outcomes += chunk.outcomes
        self.faults = [*self.faults, *chunk.faults][:_KEPT_FAULTS]

    def write(self, path: Path | None) -> None:
        """Writes the tally for `read`."""
        if path is not None:
            data = {"seed": self.seed, "chunks": self.chunks, "outcomes": self.outcomes, "faults": self.faults}
            atomic_write(path, (json.dumps(data) + "\n").encode())

    def figures(self) -> dict[str, float]:
        """Counts, and the number of accidents to expect with its standard deviation."""
        passed = self.outcomes["accepted"] + self.outcomes["passed_but_refused"]
        expected = (self.outcomes["check_failed"] + passed) / 65_536
        return {
            "mutations": self.chunks * CHUNK,
            **{outcome: self.outcomes[outcome] for outcome in OUTCOMES},
            "passed_check": passed,
            "expected_to_pass_mean": expected,
            "standard_deviation_mean": math.sqrt(expected),
        }


def run_chunks(tally: Tally, count: int, workers: int, minutes: float, state: Path | None) -> dict[str, float]:
    """Decodes chunks until there are `count` mutations or the time is over; returns speed and memory growth."""
    began_s = shown_s = time.monotonic()
    first = tally.chunks
    memory_kb: dict[int, tuple[int, int]] = {}
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for chunk in pool.imap(partial(decode_chunk, tally.seed), range(first, math.ceil(count / CHUNK))):
            tally.add(chunk)
            memory_kb[chunk.process] = memory_kb.get(chunk.process, (chunk.resident_kb, 0))[0], chunk.resident_kb
            now_s = time.monotonic()
            if now_s - shown_s > _PROGRESS_S:
                shown_s = now_s
                report.progress(f"{tally.chunks * CHUNK:,} mutations, {tally.outcomes['accepted']} accepted")
                tally.write(state)
            if now_s - began_s > 60 * minutes:
                break
    tally.write(state)
    return {
        "per_second_mean": (tally.chunks - first) * CHUNK / (time.monotonic() - began_s),
        "memory_growth_mb": max((last - start for start, last in memory_kb.values()), default=0) / 1024,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("mutations", "Decode mutated packets.", SEED)
    parser.add_argument("--count", type=int, help=f"mutations, over all runs with --state (default: {COUNT:,})")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so long, at the end of a chunk")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keeps the tally; an existing one is continued")
    options = parser.parse_args(arguments)
    count = options.count or (QUICK_COUNT if options.quick else COUNT)
    faults: list[str] = []

    def work() -> None:
        tally = Tally.read(options.state, options.seed)
        speed = run_chunks(tally, count, options.workers, options.minutes, options.state)
        systems = {"mutations": {**tally.figures(), **speed}}
        print(f"seed {options.seed}, {report.machine_line()}\n\n{report.transposed(systems)}")
        report.write_json(options.json, "mutations", options.seed, systems, faults=tally.faults)
        faults.extend(tally.faults)

    code = report.run("mutations", work)
    for fault in faults:
        print(fault, file=sys.stderr)
    return code or int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
