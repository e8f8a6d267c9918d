"""Recipes and scores that the shipped weights were exported with: `python -m tests.bench.recorded`.

Each training measures its network when it exports it and writes scores and recipe into the manifest; this bench prints
them and measures nothing.
"""

import json
import sys
from collections.abc import Sequence

from common.weights.manifest import read_manifest
from tests.bench import report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = report.flags("recorded", "Print the scores recorded with the shipped weights.", 0).parse_args(arguments)

    def work() -> None:
        entries = read_manifest()
        systems = {name: dict(entry.scores) for name, entry in entries.items()}
        for name, entry in entries.items():
            print(f"{name}: {json.dumps(dict(entry.recipe), ensure_ascii=False)}\n")
            print(report.transposed({name: entry.scores}) + "\n")
        recipes = {name: dict(entry.recipe) for name, entry in entries.items()}
        report.write_json(options.json, "recorded", options.seed, systems, recipes=recipes)

    return report.run("recorded", work)


if __name__ == "__main__":
    sys.exit(main())
