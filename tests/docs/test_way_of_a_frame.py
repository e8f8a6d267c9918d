"""Walks the way of a frame in docs/development.md: every function is where it says, and called by the one above it."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^ {4}(?P<indent> *)(?P<name>[\w.]+) +(?P<path>[a-z_/]+\.py)\b.*$", re.MULTILINE)


class Step(NamedTuple):
    depth: int
    path: str
    name: str

    def function(self) -> ast.AST:
        """Raises StopIteration if the file has none of this name."""
        node: ast.AST = ast.parse((ROOT / self.path).read_text())
        for name in self.name.split("."):
            named = (each for each in ast.walk(node) if getattr(each, "name", None) == name)
            node = next(named)
        return node

    def names(self) -> set[str]:
        """Everything that the function names."""
        nodes = list(ast.walk(self.function()))
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


def steps() -> list[Step]:
    page = (ROOT / "docs/development.md").read_text()
    table = page[page.index("## The way of a frame") : page.index("## Set-up")]
    found = list(STEP.finditer(table))
    assert [match[0] for match in found] == re.findall(r"^ {4}.*$", table, re.MULTILINE), "a line is no step"
    return [Step(len(match["indent"]) // 2, match["path"], match["name"]) for match in found]


def test_every_function_is_called_by_the_one_to_its_left() -> None:
    found = steps()
    assert 30 <= len(found) <= 45
    callers: list[Step] = []
    for step in found:
        callers = callers[: step.depth]
        assert len(callers) == step.depth, f"{step.name} has no caller"
        if callers:
            assert step.name.rpartition(".")[2] in callers[-1].names(), f"{callers[-1].name} does not call {step.name}"
        else:
            assert step.function()
        callers.append(step)
