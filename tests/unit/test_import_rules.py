"""Rules for all source files: imports between layers, lengths of files and functions, printing, reachability."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("common", "sender", "receiver")
COLLECTING_NAMES = {"utils", "util", "helpers", "helper", "misc", "common_utils"}
OFFLINE_FOLDERS = {"synthetic", "train", "training"}
"""Folders of code that renders training data or trains; the daemons never run it."""
LOADED_FOLDERS = {"migrations"}
"""Folders of modules that a library loads by their path: Alembic its migrations."""
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

OFFLINE_MODULES = ("common.synthetic", "common.training", "sender.train", "receiver.train", "moderngl")


@dataclass(frozen=True)
class Layer:
    """Modules inside `importers`, except those inside `but`, must not import modules inside `forbidden`."""

    importers: tuple[str, ...]
    forbidden: tuple[str, ...]
    but: tuple[str, ...] = ()

    def forbids(self, module: str, name: str) -> bool:
        """Whether `module` must not import `name`; both are dotted."""
        return is_below(module, self.importers) and not is_below(module, self.but) and is_below(name, self.forbidden)


LAYERS = (
    Layer(("common",), ("sender", "receiver", "tests")),
    Layer(("sender",), ("receiver", "tests")),
    Layer(("receiver",), ("sender", "tests")),
    Layer(("common",), OFFLINE_MODULES, but=("common.synthetic", "common.training")),
    Layer(("sender",), OFFLINE_MODULES, but=("sender.train",)),
    Layer(("receiver",), OFFLINE_MODULES, but=("receiver.train",)),
    # The engine and its parts depend neither on the network nor on the disk.
    Layer(
        tuple(f"receiver.{room}" for room in ("engine", "decode", "diffusion", "surface", "body", "texture", "mesh")),
        tuple(f"receiver.{room}" for room in ("publish", "link", "web", "report", "export")),
    ),
    # Congestion estimators are pure: the link feeds them and the rate controller reads them.
    Layer(("sender.congestion",), ("sender.link", "sender.rate")),
)


def is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the prefixes or something inside one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def modules(*packages: str) -> list[Path]:
    """The packages' sources, generated stubs left out, relative to the root."""
    found = [path for package in packages for path in (ROOT / package).rglob("*.py") if "_pb2" not in path.name]
    return sorted(path.relative_to(ROOT) for path in found)


def dotted(path: Path) -> str:
    """`sender/link/__init__.py` → `sender.link`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Every dotted name that a module imports, at any depth; relative imports are resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def breaches(path: Path, source: str) -> list[str]:
    """The rules that a module at `path` (relative to the root) breaks, one message each."""
    tree, module = ast.parse(source), dotted(path)
    found = []
    for name in imported_names(tree, ".".join(path.parent.parts)):
        if any(layer.forbids(module, name) for layer in LAYERS):
            found.append(f"{path} imports {name}, which is in a higher layer")
        # The standard health service carries no stage's data.
        foreign = name.startswith("grpc_health.")
        if "_pb2" in name and not foreign and path.parts[:2] != ("common", "wire"):
            found.append(f"{path} imports {name}; protobuf stays in common/wire")
        if name.startswith("google.protobuf") and path.parts[:2] != ("common", "wire"):
            found.append(f"{path} imports {name}; protobuf stays in common/wire")
    if path.stem in COLLECTING_NAMES or COLLECTING_NAMES & set(path.parts):
        found.append(f"{path}: a function belongs to the module of its subject")
    if prints(tree) and not is_command(path, tree):
        found.append(f"{path} prints; only command lines do, other modules log")
    return found


def prints(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))


def is_command(path: Path, tree: ast.Module) -> bool:
    """Whether `python -m` on the module runs something, or the module belongs to such commands (the training loop)."""
    if path.parts[:2] == ("common", "training"):
        return True
    guards = [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]
    return path.name == "__main__.py" or "__name__ == '__main__'" in guards


def long_functions(source: str) -> list[tuple[str, int]]:
    """Name and number of lines of each function that is longer than the limit, its decorators not counted."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    return [(name, lines) for name, lines in lengths if lines > MAX_FUNCTION_LINES]


def unreachable(trees: dict[Path, ast.Module]) -> list[Path]:
    """Modules that neither a command nor a folder of roots imports, directly or indirectly; empty ones are ignored."""
    paths = {dotted(path): path for path in trees}
    roots = OFFLINE_FOLDERS | LOADED_FOLDERS
    pending = [path for path, tree in trees.items() if is_command(path, tree) or roots & set(path.parts)]
    reached: set[Path] = set()
    while pending:
        path = pending.pop()
        if path not in reached:
            reached.add(path)
            for name in imported_names(trees[path], ".".join(path.parent.parts)):
                pending += [paths[prefix] for prefix in prefixes(name) if prefix in paths]
    return sorted(path for path, tree in trees.items() if tree.body and path not in reached)


def prefixes(name: str) -> list[str]:
    """`a.b.c` → `a`, `a.b`, `a.b.c`: importing the last one runs them all."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_module_breaks_no_rule(path: Path) -> None:
    assert breaches(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_no_file_is_too_long() -> None:
    lengths = {
        path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules(*PACKAGES, "tests")
    }
    too_long = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > MAX_FILE_LINES]
    assert not too_long, f"split these files, the limit is {MAX_FILE_LINES} lines: {', '.join(too_long)}"


def test_no_function_is_too_long() -> None:
    too_long = [
        f"{path}: {name} has {lines} lines"
        for path in modules(*PACKAGES, "tests")
        for name, lines in long_functions((ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not too_long, f"split these functions, the limit is {MAX_FUNCTION_LINES} lines: {', '.join(too_long)}"


def test_every_module_is_reachable() -> None:
    unused = unreachable({path: parsed(path) for path in modules(*PACKAGES)})
    assert not unused, f"no command and no training imports these: {', '.join(map(str, unused))}"


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
        ("common/codec/codec.py", "from common.training.fit_codec import default_tables"),
        ("common/body/model.py", "def late() -> None:\n    from common.synthetic.motion import poses"),
        ("common/texture/atlas.py", "import moderngl"),
        ("sender/pipeline.py", "import common.synthetic.scene.scene"),
        ("sender/semantics/stage.py", "from sender.train.crops import CropBatch"),
        ("sender/importance/importance.py", "import moderngl"),
        ("receiver/pipeline.py", "from common import training"),
        ("receiver/engine/local.py", "from receiver.publish.frame_record import FrameRecord"),
        ("receiver/mesh/glb.py", "from ..web import server"),
        ("receiver/body/skinning.py", "import receiver.report"),
        ("receiver/mesh/body_file.py", "from receiver.export.rigging import rig"),
        ("receiver/decode/stage.py", "from receiver.link import Session"),
        ("sender/congestion/pacer.py", "from sender.link.observer import Fate"),
        ("sender/congestion/capacity.py", "from sender import rate"),
    ],
)
def test_breach_is_reported(path: str, source: str) -> None:
    assert len(breaches(Path(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("common/wire/convert.py", "from common.wire import semantic_link_pb2 as pb"),
        ("sender/pipeline.py", "from sender.metrics import SenderMetrics"),
        ("receiver/link/server.py", "from grpc_health.v1 import health_pb2"),
        ("sender/__main__.py", "print('done')"),
        ("sender/train/perception.py", "print('epoch')\nif __name__ == '__main__':\n    pass"),
        ("sender/train/crops.py", "from common.synthetic.dataset.shards import CropDataset"),
        ("sender/trainer.py", "from sender.training_free import x"),
        ("common/training/fit_codec.py", "from common.synthetic.motion.poses import PoseSampler"),
        ("common/synthetic/renderer/renderer.py", "import moderngl"),
        ("receiver/publish/writer.py", "from receiver.engine.local import LocalEngine"),
        ("sender/rate/controller.py", "from sender.congestion.capacity import Capacity"),
        ("sender/link/client.py", "from sender.congestion.samples import LinkSample"),
    ],
)
def test_permitted_import_is_not_reported(path: str, source: str) -> None:
    assert breaches(Path(path), source) == []


@pytest.mark.parametrize(("lines", "reported"), [(MAX_FUNCTION_LINES, []), (MAX_FUNCTION_LINES + 1, ["inner"])])
def test_long_function_is_found_inside_a_class(lines: int, reported: list[str]) -> None:
    body = "        pass\n" * (lines - 1)
    source = f"class Outer:\n    @property\n    def inner(self):\n{body}"
    assert [name for name, _ in long_functions(source)] == reported


def test_unreachable_module_is_found() -> None:
    sources = {
        "sender/__main__.py": "from sender import pipeline",
        "sender/__init__.py": "",
        "sender/pipeline.py": "from .capture.open import open_source",
        "sender/capture/__init__.py": "from sender.capture import source",
        "sender/capture/open.py": "",
        "sender/capture/source.py": "x = 1",
        "sender/capture/forgotten.py": "import sender.capture.source",
        "sender/train/detector.py": "from sender.perception import loss",
        "sender/perception/loss.py": "x = 1",
        "receiver/web/database/migrations/env.py": "x = 1",
    }
    trees = {Path(path): ast.parse(source) for path, source in sources.items()}
    assert unreachable(trees) == [Path("sender/capture/forgotten.py")]


def test_every_package_has_modules_to_check() -> None:
    for package in PACKAGES:
        assert modules(package)


def test_tests_and_bench_have_no_collecting_module() -> None:
    assert [path for path in modules("tests") if COLLECTING_NAMES & {path.stem, *path.parts}] == []
