"""The source files, each read and parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, TypeGuard

PACKAGES = ("common", "sender", "receiver")
LIBRARY = Path("deploy/bodywire")
"""The package `bodywire`, which calls the others."""


@dataclass(frozen=True)
class Source:
    """A module.

    Args:
        path: relative to the root.
        text: what it says.
    """

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def module(self) -> str:
        """`sender/link/__init__.py` → `sender.link`."""
        inside = self.path.relative_to(LIBRARY.parent) if self.path.is_relative_to(LIBRARY) else self.path
        parts = inside.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def imports(self) -> list[str]:
        """Every dotted name that it imports, inside functions too; relative imports are resolved."""
        return list(self._imports())

    def _imports(self) -> Iterator[str]:
        package = self.path.parent.parts
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                parents = package[: len(package) - node.level + 1] if node.level else ()
                module = ".".join([*parents, *([node.module] if node.module else [])])
                yield from (f"{module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Constant) and self.path.name == "__main__.py" and _is_dotted(node.value):
                yield node.value  # the module of a command

    @property
    def prints(self) -> bool:
        return any(isinstance(node, ast.Name) and node.id == "print" for node in self.nodes)

    @property
    def is_command(self) -> bool:
        """Whether `python -m` on the module runs something, or the module belongs to such commands (the trainings)."""
        guards = (ast.unparse(node.test) for node in self.tree.body if isinstance(node, ast.If))
        is_training = self.path.parts[:2] == ("common", "training")
        is_library = self.path.is_relative_to(LIBRARY)
        return is_library or is_training or self.path.name == "__main__.py" or "__name__ == '__main__'" in guards


@dataclass(frozen=True)
class Sources:
    """Modules of a checkout.

    Args:
        product: of the packages that are installed.
        tests: of the tests and benches.
    """

    product: tuple[Source, ...]
    tests: tuple[Source, ...]

    @classmethod
    def read(cls, root: Path) -> Self:
        """Those below a checkout's root, without the generated stubs."""
        return cls(tuple(_below(root, *PACKAGES, str(LIBRARY))), tuple(_below(root, "tests")))


def _is_dotted(value: object) -> TypeGuard[str]:
    """Whether a constant looks like the name of a module in a package."""
    return isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))


def _below(root: Path, *packages: str) -> Iterator[Source]:
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            if "_pb2" not in path.name and "node_modules" not in path.parts:
                yield Source(path.relative_to(root), path.read_text(encoding="utf-8"))
