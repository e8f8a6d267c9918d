"""Trainings in tests: the examples in their docstrings, and a few steps on a GPU that is not there."""

import inspect
import json
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from common.training.recipe import Recipe
from common.training.run import parse, train
from common.weights.loader import load_weights
from tests.support.training.pretended_gpu import pretended_gpu


def recipe_of(module: ModuleType) -> type[Recipe[Any, Any]]:
    """The training that a module runs."""
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Recipe)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    )
    return found


def flags_of_examples(module: ModuleType) -> list[list[str]]:
    """The flags of each command under `Examples:` in a module's docstring."""
    _, _, examples = (module.__doc__ or "").partition("\nExamples:\n")
    program = module.__name__.removesuffix(".__main__")
    commands = (line.partition(f"-m {program} ") for line in examples.replace("\\\n", "").strip().splitlines())
    return [shlex.split(flags) for _, _, flags in commands]


def train_on_gpu(
    monkeypatch: pytest.MonkeyPatch, recipe: type[Recipe[Any, Any]], out: Path, *flags: str, steps: int = 2
) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged network and the document of its scores; weights are written to `out`/weights."""
    threads = ["--threads", str(torch.get_num_threads()), "--device", "cuda", "--steps", str(steps)]
    with pretended_gpu(monkeypatch):
        own = ["--out", str(out), "--weights", str(out / "weights"), "--export", *threads]
        network = train(recipe, parse(recipe, [*flags, *own]))
    document: dict[str, Any] = json.loads((out / "scores.json").read_text())
    assert document["steps"] == steps
    return network, document


def assert_shipped(network: nn.Module, document: dict[str, Any], name: str) -> None:
    """A training of no steps after --shipped has the package's weights, and says so."""
    assert document["shipped"] is True
    weights = network.state_dict()
    for key, value in load_weights(name).items():
        torch.testing.assert_close(weights[key].cpu(), value)
