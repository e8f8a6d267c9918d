"""The examples in the help texts of the receiver's trainings are valid command lines."""

import shlex
from types import ModuleType

import pytest

from receiver.train import decode, diffusion


@pytest.mark.parametrize("module", [decode, diffusion])
def test_examples_parse(module: ModuleType) -> None:
    _, _, examples = (module.__doc__ or "").partition("\nExamples:\n")
    lines = examples.strip().splitlines()
    assert len(lines) == 3
    for line in lines:
        _, _, flags = line.partition(f"-m {module.__name__} ")
        assert module.parse(shlex.split(flags)).bodies
