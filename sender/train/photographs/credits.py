"""Lists the photographs that a training uses, for the attribution that their licences ask for.

Each line has the source, the name of the file, the licence and where the photograph was published; with a licence and
no address, the name is the identifier in the source's own catalogue.  The training split is listed.  The pictures that
are held back are listed with --held-back: perception and detector never see them, but the verifier is trained
on those of `openimages`, as they have to be new to these two, and the shipped image channel was on all.

Examples:
  python -m sender.train.photographs.credits --people data/people --openimages data/openimages
  python -m sender.train.photographs.credits --people data/people --panoramas data/panoramas --out photographs.tsv
  python -m sender.train.photographs.credits --openimages data/openimages --held-back --out held_back.tsv
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from common.errors import OutputError, exit_code_of
from common.io.atomic_write import atomic_write
from common.io.command_line import parser_of
from sender.train.photographs.dataset import Source, add_source_flags, held_out, read_json, source_folders

_HEADER = ("source", "name", "licence", "address")
# Short names of licences, by the end of their address.
_LICENCES = {
    "/licenses/by/2.0/": "CC-BY-2.0",
    "/licenses/by-sa/2.0/": "CC-BY-SA-2.0",
    "/commons/usage/": "no known copyright restrictions",
}

Credit = tuple[str, str, str]
"""Name, licence, address."""


def people_credits(directory: Path) -> Iterator[Credit]:
    """From COCO's list of images and licences."""
    document = read_json(directory / "keypoints.json")
    licences = {entry["id"]: licence(entry["url"]) for entry in document["licenses"]}
    for entry in document["images"]:
        yield entry["file_name"], licences[entry["license"]], entry["flickr_url"]


def licence(address: str) -> str:
    """The short name of a licence, or its address if it has none here."""
    return next((name for end, name in _LICENCES.items() if address.endswith(end)), address)


def openimages_credits(directory: Path) -> Iterator[Credit]:
    """The names are Open Images identifiers, under which its catalogue has author and address."""
    for name in sorted(read_json(directory / "boxes.json")):
        yield name, "CC-BY-2.0", ""


def panorama_credits(directory: Path) -> Iterator[Credit]:
    """The names are those of Poly Haven."""
    for path in sorted(directory.glob("*.jpg")):
        yield path.stem, "CC0-1.0", f"https://polyhaven.com/a/{path.stem}"


_CREDITS = {"people": people_credits, "openimages": openimages_credits, "panoramas": panorama_credits}


def table(folders: dict[Source, Path], held_back: bool = False) -> str:
    """The training split of several sources, or the validation split: tab-separated, a line each after the header."""
    lines = ["\t".join(_HEADER)]
    for source, folder in folders.items():
        credits = list(_CREDITS[source](folder))
        validation = held_out([name for name, _, _ in credits])
        lines += ["\t".join((source, *credit)) for credit in credits if (credit[0] in validation) == held_back]
    return "\n".join(lines) + "\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.photographs.credits", __doc__)
    add_source_flags(parser)
    parser.add_argument("--held-back", action="store_true", help="list the validation split instead")
    parser.add_argument(
        "--out", type=Path, default=Path("photographs.tsv"), help="file to write (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    try:
        atomic_write(options.out, table(source_folders(options), options.held_back).encode())
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {error.strerror}") from error


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.photographs.credits", main))
