"""Programs of this installation that the receiver starts: its senders, decoders of uploads, and exports."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# The packages lie side by side, wherever this one is installed.
_PACKAGES = Path(__file__).parents[3]


def own_program(module: str) -> tuple[str, ...]:
    """The command of a module, before its arguments.

    It keeps the receiver's working directory, in which paths of options and variables may be relative, but Python does
    not look there for modules (`-P`).
    """
    return sys.executable, "-P", "-m", module


def own_environment(without: str = "-", **more: str) -> dict[str, str]:
    """Variables of the receiver, and others, with its packages first; those that begin with `without` are left out."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **more}
