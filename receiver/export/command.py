"""`receiver export`: writes the people of a recorded session as files for animation tools."""

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import UsageError, exit_code_of
from common.io.command_line import CommandParser
from common.io.startup import prepare_process
from common.wear_kinds import VALUES
from receiver.export.destination import Destination
from receiver.mesh.formats import FORMATS, Export

_EPILOG = """\
examples:
  receiver export 1
      write everybody of the first session in the directory out to clip-1.glb or the like, for Blender, Unity, Unreal
  receiver export 3 --out meshes --format bvh --person 0 --output walk.bvh
      write the motion of person 0 in the third session in the directory meshes
  receiver export demo-out --format obj --from 2 --to 4.5
      write the meshes of two and a half seconds to a folder such as clip-1-obj
  receiver export 1 --format npz
      write joints, labels and bytes of every frame as arrays for NumPy, or with csv as a table
  receiver export 1 --shape height=+5cm --shape weight=-8kg
      write everybody five centimetres taller and eight kilograms lighter
  receiver export 1 --wear bottom=skirt_short --wear hair=long
      write everybody in a short skirt and with long hair; the rest is as it was
  receiver export 1 --tint top=#336699 --tint bottom=#222222
      write everybody with a blue top and black trousers
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""

    def work() -> None:
        prepare_process()
        for line in export(arguments):
            print(line)

    return exit_code_of("receiver export", work)


def export(arguments: Sequence[str] | None) -> Iterator[str]:
    """Does what the command line says; yields and raises as `export_session`."""
    options = _parser().parse_args(arguments)
    _check_flags(options)
    form = FORMATS[options.format]
    alone = form.export in (Export.SCENE, Export.TABLE) or options.person is not None
    destination = Destination.parse(options.output, form, alone=alone, force=options.force)
    # Imported last: libraries take seconds, for which a wrong flag need not wait.
    from receiver.export.session_export import export_session

    yield from export_session(options, destination)


def _check_flags(options: argparse.Namespace) -> None:
    """Raises UsageError if flags do not go together."""
    if options.from_s >= options.to_s:
        raise UsageError(f"--from {options.from_s:g} is not before --to {options.to_s:g}")
    published = {Export.SEQUENCE: "meshes", Export.TABLE: "numbers"}.get(FORMATS[options.format].export)
    for flag in ("wear", "tint", "shape", "in-place"):
        reason = f"which has the {published} as they were published" if published else ""
        if options.format == "bvh" and flag in ("wear", "tint"):
            reason = "which has no mesh"
        if reason and getattr(options, flag.replace("-", "_")):
            raise UsageError(f"--{flag} is not for --format {options.format}, {reason}: give --format glb")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "receiver export",
        usage=argparse.SUPPRESS,  # it would come before the description
        description="Writes the people of a recorded session as animation (skeleton, motion and mesh) or numbers.\n\n"
        "usage: receiver export SESSION [FLAG [VALUE]]...",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34),
        allow_abbrev=False,
    )
    add_export_arguments(parser)
    return parser


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments to a parser."""
    parser.add_argument(
        "session",
        metavar="SESSION",
        type=Path,
        help="number of a session in --out, or an output directory that has only one",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        type=Path,
        default=Path(os.environ.get("BODYWIRE_RECEIVER_OUT", "out")),
        help="output directory of the receiver (default: out)",
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="glb", help="file format (default: glb)")
    parser.add_argument(
        "--output", metavar="PATH", help="file, or folder that takes the files (default: NAME-N.FORMAT, here)"
    )
    parser.add_argument("--person", metavar="ID", type=int, help="export only the person with this id")
    parser.add_argument(
        "--from", metavar="SECONDS", dest="from_s", type=_seconds, default=0.0, help="start here (default: 0)"
    )
    parser.add_argument(
        "--to", metavar="SECONDS", dest="to_s", type=_seconds, default=math.inf, help="end here (default: the end)"
    )
    parser.add_argument(
        "--shape",
        metavar="CHANGE",
        action="append",
        default=[],
        help="change everybody's build: height=+5cm, weight=-8kg; may be given for both",
    )
    parser.add_argument(
        "--wear",
        metavar="WHAT=KIND",
        action="append",
        default=[],
        help=f"change everybody's clothes or hair: sleeve=short; WHAT is {', '.join(VALUES)}; may be repeated",
    )
    parser.add_argument(
        "--tint",
        metavar="PART=#RRGGBB",
        action="append",
        default=[],
        help="change a colour of everybody: top=#336699; parts: skin, hair, top, bottom, shoes; may be repeated",
    )
    parser.add_argument(
        "--in-place", action="store_true", help="leave everybody's path along the floor out, for game engines"
    )
    parser.add_argument("--force", action="store_true", help="replace what an earlier export has written")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds from 0 on")
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
