"""What all benches share: common flags, a description of the machine, Markdown tables, JSON files, exit codes."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from common.errors import OutputError, exit_code_of

Figures = Mapping[str, float]
Systems = Mapping[str, Figures]

# Tables of more figures have them as rows.
_MOST_COLUMNS = 9
# Decimals by unit; other figures have three.
_DIGITS = {
    **{"mm": 1, "ms": 2, "s": 2, "bytes": 1, "mb": 1, "kbps": 1, "pixel": 4, "mse": 4, "fps": 2},
    **dict.fromkeys(("pck05", "pck10", "share", "mean"), 3),
    **dict.fromkeys(("frames", "images", "people", "found", "identities", "clips", "poses", "bones", "hands"), 0),
    **dict.fromkeys(
        ("count", "inputs", "faults", "attempts", "refused", "kills", "lost", "doubled", "misplaced", "wrong"), 0
    ),
}


def flags(bench: str, description: str | None, seed: int) -> argparse.ArgumentParser:
    """A parser with the flags that all benches have; the description is the module's, which explains the columns."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m tests.bench.{bench}", description=description, formatter_class=form)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file as JSON")
    parser.add_argument("--seed", type=int, default=seed, help="random seed (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a smaller run, at most four minutes on two cores")
    parser.set_defaults(bench=bench)
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag for whole numbers."""

    def parse(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return int(text)

    return parse


def add_amount(
    parser: argparse.ArgumentParser, flag: str, what: str, full: float, quick: float, kind: Callable[[str], float] = int
) -> None:
    """Adds a flag for how much is measured: without it, `run` takes `full`, or `quick` with `--quick`."""
    parser.add_argument(flag, type=kind, help=f"{what} (default: {full:g}, {quick:g} with --quick)")
    amounts = parser.get_default("amounts") or {}
    parser.set_defaults(amounts={**amounts, flag.removeprefix("--").replace("-", "_"): (full, quick)})


def run(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None
) -> int:
    """Runs a bench with its flags on one thread and returns its exit code; our own errors become one line on stderr."""
    options = parser.parse_args(arguments)
    for name, amount in (parser.get_default("amounts") or {}).items():
        if getattr(options, name) is None:
            setattr(options, name, amount[options.quick])
    # The networks are small, and several benches start worker processes: more threads would compete for the cores.
    torch.set_num_threads(1)
    return exit_code_of(options.bench, lambda: work(options))


def publish(options: argparse.Namespace, systems: Systems, head: str, **more: Any) -> None:
    """Prints what was measured where, then the figures, and writes them as JSON with `more` beside them."""
    print(f"{head}; {machine_line()}\n\n{table(systems)}")
    write_json(options, systems, **more)


def machine() -> dict[str, Any]:
    """The machine and software that the figures were measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _processor(),
        "cores": cores,
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine_line() -> str:
    """The machine in one line, for the head of a table."""
    facts = machine()
    return (
        f"{facts['cpu']}, {facts['cores']} cores (load {facts['load_1min']}), Python {facts['python']}, "
        f"torch {facts['torch']}, {facts['date']}"
    )


def table(systems: Systems, keys: Sequence[str] | None = None) -> str:
    """A Markdown table; a missing figure is a dash.

    Rows are systems, or figures where those are many and no `keys` are chosen.
    """
    columns = keys or list(dict.fromkeys(key for figures in systems.values() for key in figures))
    rows = [["", *columns]]
    rows += [[name, *(cell(key, figures.get(key)) for key in columns)] for name, figures in systems.items()]
    upright = keys is None and len(columns) > max(_MOST_COLUMNS, len(systems))
    return markdown(list(zip(*rows, strict=True)) if upright else rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cell(key: str, value: float | None) -> str:
    """A figure with the decimals of its unit; a dash without a value."""
    if value is None or value != value:
        return "–"
    words = key.split("_")
    digits = next((count for unit, count in _DIGITS.items() if unit in words), 3)
    return f"{value:.{digits}f}"


def write_json(options: argparse.Namespace, systems: Systems, **more: Any) -> None:
    """Writes figures and machine as JSON; does nothing without `--json`.

    Raises:
        OutputError: the file cannot be written.
    """
    path: Path | None = options.json
    if path is None:
        return
    document = {"bench": options.bench, "machine": machine(), "seed": options.seed, "systems": systems, **more}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_without_nan(document), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _without_nan(value: Any) -> Any:
    """Rounds floats and replaces NaN, which JSON lacks, by None."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 6) if value == value else None
    return value


def progress(text: str) -> None:
    """Prints progress on stderr, so that stdout has only the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
