"""Walks the way of a frame in docs/development.md: every function is where it says, and called by one above it."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
# These wait for frames, which come to them through a queue or a link.
BEGIN = {"SenderPipeline._send_all", "LinkClient._write", "Connection._handle", "LocalEngine._infer"}
STEP = re.compile(r"^ {4}(?:~>|  ) (?P<path>[a-z_/]+\.py) +(?P<name>[\w.]+)(?: {2,}.*)?$", re.MULTILINE)


class Step(NamedTuple):
    path: str
    name: str

    def source(self) -> str:
        """The function's lines; raises StopIteration if the file has none of this name."""
        text = (ROOT / self.path).read_text()
        node: ast.AST = ast.parse(text)
        for name in self.name.split("."):
            named = (each for each in ast.walk(node) if getattr(each, "name", None) == name)
            node = next(named)
        return ast.get_source_segment(text, node) or ""


def steps() -> list[Step]:
    page = (ROOT / "docs/development.md").read_text()
    return [Step(match["path"], match["name"]) for match in STEP.finditer(page)]


def test_every_function_is_called_by_one_above_it() -> None:
    found = steps()
    assert 20 <= len(found) <= 25
    assert {found[0].path.partition("/")[0], found[-1].path.partition("/")[0]} == {"sender", "receiver"}
    sources: list[str] = []
    for step in found:
        name = step.name.rpartition(".")[2]
        calls = [re.search(rf"\b{name}\b", source) for source in sources]
        assert step.name in BEGIN or any(calls), f"{step.name} is called by none above it"
        sources.append(step.source())
