"""The rules that hold the tree together, read from the sources themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("common", "sender", "receiver")
FORBIDDEN = {
    "common": {"sender", "receiver", "tests"},
    "sender": {"receiver", "tests"},
    "receiver": {"sender", "tests"},
}
COLLECTING_NAMES = {"utils", "util", "helpers", "helper", "misc", "common_utils"}


def modules(*packages: str) -> list[Path]:
    """The packages' sources, generated stubs left out, relative to the root."""
    found = [path for package in packages for path in (ROOT / package).rglob("*.py") if "_pb2" not in path.name]
    return sorted(path.relative_to(ROOT) for path in found)


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Every dotted name that a module imports, anywhere in it; relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def breaches(path: Path, source: str) -> list[str]:
    """What a module at `path` (relative to the root) does against the rules."""
    tree = ast.parse(source)
    found = []
    for name in imported_names(tree, ".".join(path.parent.parts)):
        if name.split(".")[0] in FORBIDDEN[path.parts[0]]:
            found.append(f"{path} imports {name}")
        # The standard health service speaks of no stage's data.
        foreign = name.startswith("grpc_health.")
        if "_pb2" in name and not foreign and path.parts[:2] != ("common", "wire"):
            found.append(f"{path} imports {name}; protobuf stays in common/wire")
        if name.startswith("google.protobuf") and path.parts[:2] != ("common", "wire"):
            found.append(f"{path} imports {name}; protobuf stays in common/wire")
    if path.stem in COLLECTING_NAMES or COLLECTING_NAMES & set(path.parts):
        found.append(f"{path}: a function lives with what it is about")
    if prints(tree) and not is_command(path, tree):
        found.append(f"{path} prints; only command lines do, others log")
    return found


def prints(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))


def is_command(path: Path, tree: ast.Module) -> bool:
    """Whether `python -m` on the module runs something."""
    guards = [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]
    return path.name == "__main__.py" or "__name__ == '__main__'" in guards


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_module_keeps_the_rules(path: Path) -> None:
    assert breaches(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sender/pipeline.py", "from receiver.metrics import ReceiverMetrics"),
        ("receiver/link/server.py", "def late() -> None:\n    import sender.capture"),
        ("common/codec/codec.py", "import receiver"),
        ("common/nets/vit.py", "from tests.conftest import x"),
        ("sender/link/client.py", "from common.wire import semantic_link_pb2"),
        ("sender/link/client.py", "from common.wire.semantic_link_pb2_grpc import SemanticLinkStub"),
        ("receiver/link/server.py", "from google.protobuf import message"),
        ("sender/link/client.py", "from ...receiver import metrics"),
        ("sender/rate/rate.py", "print('rate')"),
        ("sender/rate/rate.py", "show = print"),
        ("common/codec/utils.py", ""),
        ("common/helpers/table.py", ""),
    ],
)
def test_breach_is_noticed(path: str, source: str) -> None:
    assert len(breaches(Path(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("common/wire/convert.py", "from common.wire import semantic_link_pb2 as pb"),
        ("sender/pipeline.py", "from sender.metrics import SenderMetrics"),
        ("receiver/link/server.py", "from grpc_health.v1 import health_pb2"),
        ("sender/__main__.py", "print('done')"),
        ("sender/train/perception.py", "print('epoch')\nif __name__ == '__main__':\n    pass"),
    ],
)
def test_permitted_is_not_reported(path: str, source: str) -> None:
    assert breaches(Path(path), source) == []


def test_every_package_has_modules_to_check() -> None:
    for package in PACKAGES:
        assert modules(package)


def test_tests_and_bench_have_no_collecting_module() -> None:
    assert [path for path in modules("tests") if COLLECTING_NAMES & {path.stem, *path.parts}] == []
