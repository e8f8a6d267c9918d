"""Recipes and scores that the shipped weights were exported with: `python -m tests.bench.recorded`.

Each training measures its network when it exports it and writes scores and recipe into the manifest; this bench prints
them and measures nothing.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from common.weights.manifest import read_manifest
from tests.bench import report


def main(arguments: Sequence[str] | None = None) -> int:
    return report.run(report.flags("recorded", __doc__, 0), _work, arguments)


def _work(options: argparse.Namespace) -> None:
    entries = read_manifest()
    recipes = {name: dict(entry.recipe) for name, entry in entries.items()}
    for name, entry in entries.items():
        print(f"{name}: {json.dumps(recipes[name], ensure_ascii=False)}\n\n{report.table({name: entry.scores})}\n")
    report.write_json(options, {name: dict(entry.scores) for name, entry in entries.items()}, recipes=recipes)


if __name__ == "__main__":
    sys.exit(main())
