"""Command-line flags that the trainings share."""

import argparse
import sys
from pathlib import Path
from typing import Any

from common.io.command_line import parser_of
from common.training.recipe import Recipe
from common.weights.config import DeviceConfig
from common.weights.manifest import WEIGHTS_DIRECTORY


def parser_of_training(recipe_type: type[Recipe[Any, Any]]) -> argparse.ArgumentParser:
    """A parser with the flags of every training, and those of one."""
    module, defaults = sys.modules[recipe_type.__module__], recipe_type.defaults
    parser = parser_of(f"python -m {module.__spec__.name if module.__spec__ else '…'}", module.__doc__ or "")
    add = parser.add_argument
    recipe_type.add_flags(parser)
    folder = Path("runs") / recipe_type.name
    add("--out", type=Path, default=folder, metavar="DIR", help="folder of checkpoint and scores (%(default)s)")
    add("--device", type=_device, default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N (auto)")
    add("--minutes", type=float, default=defaults.minutes, help="training time over all resumed runs (%(default)g)")
    add("--steps", type=int, help="train for this many steps instead of --minutes; 0 only evaluates")
    add("--batch", type=int, default=defaults.batch, help="samples a step (%(default)s)")
    add("--rate", type=float, default=defaults.rate, help="peak learning rate (%(default)g)")
    add("--seed", type=int, default=defaults.seed, help="of all randomness (%(default)s)")
    add("--threads", type=int, default=defaults.threads, help="CPU threads (%(default)s)")
    add("--loaders", type=int, default=0, help="processes that prepare batches, for a GPU (a thread of the training)")
    add("--compile", action="store_true", help="faster steps after some minutes of compilation")
    add("--resume", action="store_true", help="continue from the checkpoint in --out, if it exists")
    add("--shipped", action="store_true", help="start from the package's weights")
    add_export_flags(parser, "also write the weights and their scores when done")
    return parser


def add_export_flags(parser: argparse.ArgumentParser, export_help: str) -> None:
    """Adds whether and where weights are written."""
    add = parser.add_argument
    add("--export", action="store_true", help=export_help)
    weights = "folder that --export writes to (default: the package's)"
    add("--weights", type=Path, default=WEIGHTS_DIRECTORY, metavar="DIR", help=weights)


def _device(text: str) -> str:
    try:
        return DeviceConfig(text).device
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
