"""How long files and functions may be, what files are called, and who prints."""

import ast
from collections.abc import Iterator

from tests.rules.sources import Source

COLLECTING_NAMES = {"utils", "util", "helpers", "helper", "misc", "common_utils"}
MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 60


def findings(source: Source) -> Iterator[str]:
    """What is wrong with the form of any module."""
    lines = len(source.text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{source.path} has {lines} lines: split it, the limit is {MAX_FILE_LINES}"
    for name, lines in long_functions(source):
        yield f"{source.path}: {name} has {lines} lines: split it, the limit is {MAX_FUNCTION_LINES}"
    if COLLECTING_NAMES & {source.path.stem, *source.path.parts}:
        yield f"{source.path}: a function belongs to the module of its subject"


def printing(source: Source) -> Iterator[str]:
    """A module of the product that prints and is no command line."""
    if source.prints and not source.is_command:
        yield f"{source.path} prints; only command lines do, other modules log"


def long_functions(source: Source) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function that is longer than the limit, its decorators not counted."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield node.name, lines
