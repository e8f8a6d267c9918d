"""What the fits of small models share: flags, the descent on all data at once, and what is written."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.io.command_line import parser_of
from common.training.recipe import Network, add_export_flags
from common.training.run import write_json
from common.weights.loader import save_weights
from common.weights.manifest import Storage


def parser_of_fit(program: str, document: str) -> argparse.ArgumentParser:
    """A parser with the flags of every fit; arguments as of `parser_of`, `program` without `python -m`."""
    parser = parser_of(f"python -m {program}", document)
    out = Path("runs") / program.rpartition(".")[2]
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="folder of scores (%(default)s)")
    add_export_flags(parser, "also write the weights and their scores")
    return parser


def fitted(network: Network, loss: Callable[[], Tensor], steps: int, rate: float, decay: float = 0.0) -> Network:
    """The network after so many steps of AdamW down a loss, frozen and in evaluation mode."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def save_fit(
    options: argparse.Namespace,
    name: str,
    tensors: Mapping[str, Tensor],
    architecture: Mapping[str, Any],
    recipe: Mapping[str, Any],
    scores: Mapping[str, Any],
    storage: Storage = "float32",
) -> None:
    """Prints the scores, writes them to `--out`, and with `--export` the weights; arguments as of `save_weights`."""
    print(dict(scores))
    write_json(options.out / "scores.json", {"scores": dict(scores)})
    if options.export:
        entry = save_weights(name, tensors, architecture, recipe, scores, storage=storage, directory=options.weights)
        print(f"wrote {options.weights / entry.file}")
