"""Sends pictures over a simulated noisy channel: `python -m common.channel`."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import torch

from common.arrays import Image
from common.channel.diffusion import INVENTED, load_decoder
from common.channel.physical import carry
from common.channel.signal import Signal
from common.channel.state import KINDS, MAX_QUALITY_DB, ChannelState
from common.channel.transmission import Completion, Transmitter, decode, load_network, psnr_db
from common.errors import UsageError, exit_code_of
from common.imaging.picture_file import read_picture, write_picture
from common.io.command_line import CommandParser

_DESCRIPTION = """Send a picture over a simulated wireless channel by joint source-channel coding.
encode writes what goes on the air, decode passes that through the channel and writes the picture that arrives,
transmit does both and prints the quality."""
_EXAMPLES = """examples:
  python -m common.channel transmit photo.png --snr 10 --rate 1/16 --out received.png
  python -m common.channel transmit photo.png --snr 4 --channel rayleigh --pilots 2
  python -m common.channel transmit photo.png --snr 10 --refine 100
  python -m common.channel transmit photo.png --snr 7 --quality 28 --rate 1/8
  python -m common.channel transmit photo.png --snr 4 --rate 1/24 --decoder auto --out received.png
  python -m common.channel encode photo.png --snr 10 --out photo.npz
  python -m common.channel decode photo.npz --snr 7 --seed 3 --out received.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    program = "python -m common.channel"

    def run() -> None:
        options = _parser(program).parse_args(arguments)
        _COMMANDS[options.command](options)

    return exit_code_of(program, run)


def _parser(program: str) -> CommandParser:
    parser = CommandParser(
        program, description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=tuple(_COMMANDS), help="what to do")
    parser.add_argument("file", type=Path, metavar="FILE", help="a picture; for decode, what encode wrote")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write; transmit needs none")
    parser.add_argument("--snr", type=float, metavar="DB", help="mean signal-to-noise ratio (10; that of encode)")
    parser.add_argument(
        "--rate", type=_rate, default=Fraction(1, 16), help="channel uses per colour value of a pixel (%(default)s)"
    )
    parser.add_argument(
        "--quality",
        type=_decibels,
        metavar="DB",
        help="PSNR to reach with as few channel uses as it takes, up to --rate",
    )
    parser.add_argument("--channel", choices=KINDS, default="awgn", help="(default: %(default)s)")
    parser.add_argument("--block", type=int, default=64, help="symbols of a fading block or packet (%(default)s)")
    parser.add_argument(
        "--pilots", type=int, default=0, help="pilots of a fading block; 0: gains are known (%(default)s)"
    )
    parser.add_argument("--loss", type=float, default=0.1, help="share of packets that erasure loses (%(default)s)")
    parser.add_argument(
        "--refine", type=_steps, default=0, metavar="STEPS", help="descent on the symbols, about 100 (%(default)s)"
    )
    parser.add_argument("--decoder", choices=("plain", "auto", "diffusion"), default="plain", help="(%(default)s)")
    parser.add_argument("--steps", type=_steps, default=1, help="of --decoder diffusion (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of noise, fading and losses (%(default)s)")
    return parser


def _encode(options: argparse.Namespace) -> None:
    signal = _transmitter(options).encode(read_picture(options.file))
    signal.write(_target(options))
    sys.stdout.write(_account(signal, _channel(options, 10.0)) + "\n")


def _decode(options: argparse.Namespace) -> None:
    target, signal = _target(options), Signal.read(options.file)
    _write(options, target, _received(options, signal))


def _transmit(options: argparse.Namespace) -> None:
    original = read_picture(options.file)
    channel = _channel(options, 10.0)
    signal = _transmitter(options).encode(original)
    picture = _received(options, signal)
    if options.out is not None:
        _write(options, options.out, picture)
    sys.stdout.write(f"{_account(signal, channel)}\nPSNR {psnr_db(picture, original):.2f} dB\n")


_MAX_STEPS = 10_000
_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "encode": _encode,
    "decode": _decode,
    "transmit": _transmit,
}


def _transmitter(options: argparse.Namespace) -> Transmitter:
    channel, rate = _channel(options, 10.0), options.rate
    return Transmitter(load_network(), channel, rate, refinement=options.refine, quality_db=options.quality)


def _received(options: argparse.Namespace, signal: Signal) -> Image:
    generator = torch.Generator().manual_seed(options.seed)
    received = carry(_channel(options, signal.snr_db), signal.symbols, generator)
    # By the perceptual distance of held-back photographs, one step is nearer than none at every received quality.
    steps = options.steps if options.decoder == "diffusion" else 1
    completion = None if options.decoder == "plain" else Completion(load_decoder(), steps, options.seed)
    return decode(load_network(), signal, received, completion)


def _write(options: argparse.Namespace, path: Path, picture: Image) -> None:
    write_picture(path, picture, "" if options.decoder == "plain" else INVENTED)


def _account(signal: Signal, channel: ChannelState) -> str:
    return (
        f"{signal.size[1]}×{signal.size[0]} pixels, {len(signal.symbols)} symbols and {signal.side_uses} channel uses "
        f"of side information, bandwidth ratio 1/{1 / signal.rate(channel.data_share):.2f}"
    )


def _channel(options: argparse.Namespace, default_snr_db: float) -> ChannelState:
    snr_db = default_snr_db if options.snr is None else options.snr
    try:
        return ChannelState(snr_db, options.channel, options.block, options.pilots, options.loss)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no bandwidth ratio; give one such as 1/16")
    return rate


def _decibels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MAX_QUALITY_DB:
        raise argparse.ArgumentTypeError(f"{text!r} is no PSNR; give one above 0 and up to {MAX_QUALITY_DB:g} dB")
    return value


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_STEPS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of steps; give one of 0 to {_MAX_STEPS}")
    return int(text)


def _target(options: argparse.Namespace) -> Path:
    if options.out is None:
        raise UsageError(f"{options.command} needs --out FILE")
    target: Path = options.out
    return target


if __name__ == "__main__":
    raise SystemExit(main())
