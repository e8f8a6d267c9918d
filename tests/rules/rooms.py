"""How large the rooms of the house are, and may be: `sizes.toml`.

A room is a folder of the product with all below it, or what lies in a package itself.  Its limit is the number of its
lines.  What is added is taken from another room in the same commit, and what shrinks lowers its number (`python -m
tests.rules --lower`); nobody raises their sum.
"""

import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

SIZES = Path("tests/rules/sizes.toml")
_PACKAGES = ("common", "sender", "receiver")
_PAGE = Path("receiver/web/page")
_OF_PAGE = (".ts", ".css", ".html")
# A folder of such files is a file.
_SMALL_LINES = 80
_MADE = ("node_modules", "build", "dist", "demo-out", "__pycache__")

Sizes = dict[str, int]


def tracked(root: Path) -> list[Path]:
    """The files that git knows, relative to the root; where it knows none, all that nobody has made or installed."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return [
            path for path in found if not any(part[0] == "." or part in _MADE or "_pb2" in part for part in path.parts)
        ]
    return [path for name in done.stdout.split("\0") if name and (root / (path := Path(name))).is_file()]


def measured(root: Path) -> Sizes:
    """Lines by room, files of the product that are not empty, and words of the documentation."""
    sizes = Counter[str]()
    for path in tracked(root):
        if path.suffix == ".md":
            sizes["words"] += len((root / path).read_text(encoding="utf-8").split())
        elif (room := room_of(path)) is not None:
            text = (root / path).read_text(encoding="utf-8")
            sizes[room] += text.count("\n")
            if path.suffix == ".py" and path.parts[0] != "tests":
                sizes["files"] += bool(text)
    return dict(sorted(sizes.items()))


def room_of(path: Path) -> str | None:
    """The room of a file; None of what is no source."""
    if path.is_relative_to(_PAGE):
        is_source = path.suffix in _OF_PAGE and "tests" not in path.parts
        return str(_PAGE) if is_source else None
    if path.suffix != ".py" or path.parts[0] not in (*_PACKAGES, "tests", "deploy"):
        return None
    return "/".join(path.parts[:2]) if len(path.parts) > 2 else path.parts[0]


def limits(root: Path) -> Sizes:
    """What `sizes.toml` permits."""
    return tomllib.loads((root / SIZES).read_text(encoding="utf-8"))


def lower(root: Path) -> None:
    """Lowers the numbers of rooms that have shrunk, and removes those of rooms that are gone."""
    sizes = measured(root)
    kept = {room: min(limit, sizes[room]) for room, limit in limits(root).items() if room in sizes}
    lines = [f'"{room}" = {limit}\n' for room, limit in kept.items()]
    head = "".join(
        line for line in (root / SIZES).read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#")
    )
    (root / SIZES).write_text(head + "".join(lines), encoding="utf-8")


def breaches(sizes: Mapping[str, int], permitted: Mapping[str, int]) -> Iterator[str]:
    """Rooms that are larger than they may be, and numbers that are larger than their rooms."""
    for room in sorted({*sizes, *permitted}):
        size, limit = sizes.get(room, 0), permitted.get(room)
        if limit is None:
            yield f"{room} is in no room of {SIZES}: add it, and take its {size} from another one"
        elif size > limit:
            yield f"{room} has {size}, and may have {limit}: take {size - limit} from it"
        elif size < limit:
            yield f"{room} has {size} of {limit}: python -m tests.rules --lower"


def cupboards(lines: Mapping[Path, int]) -> Iterator[str]:
    """Folders of packages of whose files most are small; a file without lines is none."""
    folders: dict[Path, list[int]] = {}
    for path, count in lines.items():
        if count and len(path.parts) > 2:
            folders.setdefault(path.parent, []).append(count)
    for folder, counts in sorted(folders.items()):
        if len(counts) > 1 and 2 * sum(count < _SMALL_LINES for count in counts) > len(counts):
            yield f"{folder}: most of its files have fewer than {_SMALL_LINES} lines: it is a file"
