"""The examples in the docstrings of trainings."""

import shlex
from types import ModuleType


def flags_of_examples(module: ModuleType) -> list[list[str]]:
    """The flags of each command under `Examples:` in a module's docstring."""
    _, _, examples = (module.__doc__ or "").partition("\nExamples:\n")
    commands = (line.partition(f"-m {module.__name__} ") for line in examples.strip().splitlines())
    return [shlex.split(flags) for _, _, flags in commands]
