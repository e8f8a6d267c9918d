"""Prints every breach of a rule in this checkout, and fails if there are any: `python -m tests.rules`.

With `--lower`, the limits of rooms that have shrunk become their sizes before.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.rules import imports, rooms, shape
from tests.rules.sources import Sources

ROOT = Path(__file__).parents[2]


def findings(sources: Sources) -> Iterator[str]:
    """One message for each breach."""
    for source in sources.product:
        yield from imports.breaches(source)
        yield from shape.printing(source)
    for source in (*sources.product, *sources.tests):
        yield from shape.findings(source)
    for group in (sources.product, sources.tests):
        if circle := imports.circle(group):
            yield f"imports in a circle: {' → '.join(circle)}"
    yield from (f"no command and no training imports {path}" for path in imports.unreachable(sources.product))
    yield from rooms.cupboards({source.path: source.text.count("\n") for source in sources.product})


def main() -> int:
    if sys.argv[1:] == ["--lower"]:
        rooms.lower(ROOT)
    sources = Sources.read(ROOT)
    found = [*findings(sources), *rooms.breaches(rooms.measured(ROOT), rooms.limits(ROOT))]
    print("\n".join(found) or f"{len(sources.product) + len(sources.tests)} modules break no rule")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
