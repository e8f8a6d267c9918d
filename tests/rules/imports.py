"""Who may import whom: floors, protobuf, circles, and modules that nobody imports."""

import graphlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.rules.sources import Source

OFFLINE_MODULES = ("common.synthetic", "common.training", "sender.train", "receiver.train", "moderngl")
"""Code that renders training data or trains; the daemons never run it."""
ROOT_FOLDERS = {"synthetic", "train", "training"}
"""Folders whose modules need no importer: trainings."""


@dataclass(frozen=True)
class Floor:
    """Modules inside `importers`, except those inside `but`, must not import modules inside `forbidden`."""

    importers: tuple[str, ...]
    forbidden: tuple[str, ...]
    but: tuple[str, ...] = ()

    def forbids(self, module: str, name: str) -> bool:
        """Whether `module` must not import `name`; both are dotted."""
        return _is_below(module, self.importers) and not _is_below(module, self.but) and _is_below(name, self.forbidden)


FLOORS = (
    Floor(("common",), ("sender", "receiver", "bodywire", "tests")),
    Floor(("sender",), ("receiver", "bodywire", "tests")),
    Floor(("receiver",), ("sender", "bodywire", "tests")),
    Floor(("bodywire",), ("tests", *OFFLINE_MODULES)),
    Floor(("common",), OFFLINE_MODULES, but=("common.synthetic", "common.training")),
    Floor(("sender",), OFFLINE_MODULES, but=("sender.train",)),
    Floor(("receiver",), OFFLINE_MODULES, but=("receiver.train",)),
    # The engine and its parts depend neither on the network nor on the disk.
    Floor(
        tuple(f"receiver.{room}" for room in ("engine", "motion", "surface", "body", "texture", "mesh")),
        tuple(f"receiver.{room}" for room in ("publish", "link", "web", "report", "export")),
        but=("receiver.motion.playout",),
    ),
    # Congestion estimators are pure: the link feeds them and the rate controller reads them.
    Floor(("sender.congestion",), ("sender.link", "sender.rate")),
)


def breaches(source: Source) -> Iterator[str]:
    """Imports of one module that a floor forbids, or that let protobuf out of the wire."""
    for name in source.imports:
        if any(floor.forbids(source.module, name) for floor in FLOORS):
            yield f"{source.path} imports {name}, which is in a higher layer"
        # The standard health service carries no stage's data.
        protobuf = name.startswith("google.protobuf") or ("_pb2" in name and not name.startswith("grpc_health."))
        if protobuf and source.path.parts[:2] != ("common", "wire"):
            yield f"{source.path} imports {name}; protobuf stays in common/wire"


def circle(sources: Sequence[Source]) -> list[str]:
    """The modules of a circle of imports, the first of them twice, or nothing; imports inside functions count."""
    modules = {source.module for source in sources}
    graph = {
        source.module: {module for name in source.imports if (module := _module_of(name, modules)) is not None}
        for source in sources
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def unreachable(sources: Sequence[Source]) -> list[str]:
    """Modules that neither a command nor a folder of roots imports, directly or indirectly; empty ones are ignored."""
    by_module = {source.module: source for source in sources}
    pending = [source for source in sources if source.is_command or ROOT_FOLDERS & set(source.path.parts)]
    reached: set[str] = set()
    while pending:
        source = pending.pop()
        if source.module not in reached:
            reached.add(source.module)
            names = (prefix for name in source.imports for prefix in _prefixes(name))
            pending += [by_module[name] for name in names if name in by_module]
    return sorted(str(source.path) for source in sources if source.tree.body and source.module not in reached)


def _is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the prefixes or something inside one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _module_of(name: str, modules: set[str]) -> str | None:
    """The module that `from a.b import c` reads: `a.b.c` if that is one, else `a.b`."""
    return next((prefix for prefix in reversed(_prefixes(name)) if prefix in modules), None)


def _prefixes(name: str) -> list[str]:
    """`a.b.c` → `a`, `a.b`, `a.b.c`: importing the last one runs them all."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
