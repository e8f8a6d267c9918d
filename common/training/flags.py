"""Command-line flags that the trainings share."""

import argparse
from pathlib import Path

from common.weights.manifest import WEIGHTS_DIRECTORY


def parser_of(program: str, document: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a module's docstring and ends with the examples at the docstring's end.

    Args:
        program: what to type, for example "python -m sender.train.detector".
        document: the docstring; its last part begins with a line "Examples:".
    """
    description, _, examples = document.partition("\nExamples:\n")
    return argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_training_flags(parser: argparse.ArgumentParser, *, minutes: float, batch: int, seed: int, threads: int) -> None:
    """Adds length, batch, seed, threads, and how a training starts."""
    parser.add_argument(
        "--minutes", type=float, default=minutes, help="training time over all resumed runs (default: %(default)g)"
    )
    parser.add_argument("--batch", type=int, default=batch, help="samples a step, over all workers (%(default)s)")
    parser.add_argument("--seed", type=int, default=seed, help="of all randomness (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads of a worker (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out, if it exists")
    parser.add_argument("--shipped", action="store_true", help="start from the package's weights")


def add_steps_flag(parser: argparse.ArgumentParser) -> None:
    """Adds a length in steps, which makes two trainings comparable on a machine with other load."""
    parser.add_argument("--steps", type=int, help="train for this many steps instead of --minutes; 0 only evaluates")


def add_result_flags(parser: argparse.ArgumentParser, *, export_help: str) -> None:
    """Adds where scores and weights are written."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="validation scores (default: scores.json in --out)")
    parser.add_argument("--export", action="store_true", help=export_help)
    parser.add_argument(
        "--weights",
        type=Path,
        default=WEIGHTS_DIRECTORY,
        metavar="DIR",
        help="folder that --export writes to (default: the package's)",
    )
