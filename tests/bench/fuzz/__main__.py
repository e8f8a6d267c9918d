"""Coverage-guided fuzzing of what decodes bytes of strangers, with Atheris: `python -m tests.bench.fuzz --minutes 10`.

    packet      a frame's packet, which the check refuses
    content     a packet's content, with the check that belongs to it
    snapshot    the state of a decoder, in recordings
    colours     colours of surface points
    tile        a tile of a texture atlas
    records     a recording's block of frames
    blob        a recording's blob
    index       a recording's index
    recording   a recording's file

The minutes are those of each target.  A target fails if it raises another error than its refusals, accepts what is not
valid, takes more than five seconds for an input of up to 4 kB, or more than 2 GB of memory; the input is written to
--out.  `edges` are the branches of our code that inputs have reached.  With --out, a second run begins with the inputs
of the first.
"""

import argparse
import importlib.util
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.errors import BodywireError, UsageError
from tests.bench import report

TARGETS: Final = (
    "packet",
    "content",
    "snapshot",
    "colours",
    "tile",
    "learned",
    "records",
    "blob",
    "index",
    "recording",
)
_QUICK_MINUTES, _MINUTES = 0.2, 10.0
_LIMITS: Final = ("-max_len=4096", "-timeout=5", "-print_final_stats=1")
_MEMORY_MB = 2048
# A process of the fuzzer ends after so long: instrumented modules grow by 45 MB a second, without Atheris by nothing.
_PIECE_S = 25
_RUNS, _EDGES = re.compile(r"number_of_executed_units: (\d+)"), re.compile(r"cov: (\d+)")


def fuzz(name: str, seconds: int, seed: int, out: Path) -> tuple[dict[str, float], str]:
    """Figures of a target, and the end of the fuzzer's report if it found a fault."""
    runs, piece = 0.0, 0
    while True:
        figures, fault = _piece(name, min(seconds, _PIECE_S), seed + piece, out)
        runs, piece, seconds = runs + figures["runs_mutations"], piece + 1, seconds - _PIECE_S
        if fault or seconds <= 0:
            return {**figures, "runs_mutations": runs}, fault


def _piece(name: str, seconds: int, seed: int, out: Path) -> tuple[dict[str, float], str]:
    """One process, which begins with the inputs of those before it."""
    corpus, found = out / "corpus" / name, out / "faults" / name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    # libFuzzer reads the peak of its resident memory, which Linux hands on to a new program.
    inherited_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    memory = f"-rss_limit_mb={_MEMORY_MB + inherited_mb}"
    flags = (*_LIMITS, memory, f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={found}/")
    command = [sys.executable, "-m", "tests.bench.fuzz.process", name, str(corpus), *flags]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    runs, edges = _RUNS.search(ended.stderr), _EDGES.findall(ended.stderr)
    if runs is None:
        raise BodywireError(f"the fuzzer of {name} did not start: {ended.stderr.strip()[-300:]}")
    figures = {
        "runs_mutations": float(runs[1]),
        "edges_found": float(edges[-1]) if edges else 0.0,
        "inputs_found": float(sum(1 for _ in corpus.iterdir())),
        "faults_found": float(ended.returncode != 0),
    }
    return figures, ended.stderr[-2000:] if ended.returncode else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("fuzz", __doc__, 1)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="only these")
    parser.add_argument("--minutes", type=float, help=f"of each target (default: {_MINUTES:g})")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep inputs and faults here")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    """Fuzzes all targets, one after the other.

    Raises:
        UsageError: Atheris is not installed.
        BodywireError: a target failed.
    """
    if importlib.util.find_spec("atheris") is None:
        raise UsageError("this bench needs Atheris: pip install atheris")
    minutes = options.minutes or (_QUICK_MINUTES if options.quick else _MINUTES)
    figures, faults = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        for name in options.targets:
            report.progress(name)
            figures[name], faults[name] = fuzz(name, max(round(60 * minutes), 1), options.seed, out)
    report.publish(options, figures, f"{minutes:g} minutes a target")
    failed = [name for name, text in faults.items() if text]
    for name in failed:
        print(f"\n{name}:\n{faults[name]}")
    if failed:
        where = "" if options.out is None else f"; their inputs are in {options.out}/faults"
        raise BodywireError(f"faults in {', '.join(failed)}{where}")


if __name__ == "__main__":
    sys.exit(main())
