"""The arguments of `receiver export`, for its parser and for the shell's completion."""

import argparse
import math
import os
from pathlib import Path

from common.body.anatomy import GARMENTS

FORMATS = ("glb", "bvh", "obj", "ply", "usdz")


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
    parser.add_argument("--format", choices=FORMATS, default="glb", help="file format (default: glb)")
    parser.add_argument(
        "--output", metavar="PATH", type=Path, help="file, or folder of a sequence (default: session-N.FORMAT here)"
    )
    parser.add_argument("--person", metavar="ID", type=int, help="export only the person with this id")
    parser.add_argument(
        "--from", metavar="SECONDS", dest="from_s", type=_seconds, default=0.0, help="start here (default: 0)"
    )
    parser.add_argument(
        "--to", metavar="SECONDS", dest="to_s", type=_seconds, default=math.inf, help="end here (default: the end)"
    )
    parser.add_argument(
        "--fps",
        metavar="NUMBER",
        type=_rate,
        help="frames a second of the video that was sent (default: as fast as its frames were read)",
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
        metavar="GARMENT",
        action="append",
        default=[],
        help=f"change everybody's clothes or hair: {', '.join(GARMENTS)}, or none for the bare skin; may be repeated",
    )
    parser.add_argument(
        "--tint",
        metavar="PART=#RRGGBB",
        action="append",
        default=[],
        help="change a colour of everybody: top=#336699; parts: skin, hair, top, bottom, shoes; may be repeated",
    )
    parser.add_argument("--force", action="store_true", help="replace what an earlier export has written")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds from 0 on")
    return seconds


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.001 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.001 and 1000 frames a second")
    return rate
