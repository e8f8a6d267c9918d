"""Sends a picture over a simulated noisy channel: `python -m common.channel`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from common.channel.diffusion import INVENTED, load_decoder
from common.channel.physical import carry
from common.channel.state import KINDS, ChannelState, bandwidth_ratio
from common.channel.transmission import decode, encode, load_network, psnr_db
from common.errors import UsageError, exit_code_of
from common.imaging.picture_file import read_picture, write_picture
from common.io.command_line import CommandParser

_DESCRIPTION = """Send a picture over a simulated wireless channel by joint source-channel coding, and print how good
the picture is that arrives."""
_EXAMPLES = """examples:
  python -m common.channel photo.png --snr 10 --rate 1/16 --out received.png
  python -m common.channel photo.png --snr 4 --channel rayleigh --rate 1/24 --decoder diffusion --out received.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    program = "python -m common.channel"
    return exit_code_of(program, lambda: _transmit(_parser(program).parse_args(arguments)))


def _parser(program: str) -> CommandParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = CommandParser(program, description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=form)
    parser.add_argument("file", type=Path, metavar="FILE", help="a picture")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the picture that arrives")
    parser.add_argument(
        "--snr", type=float, default=10.0, metavar="DB", help="mean signal-to-noise ratio (%(default)g)"
    )
    parser.add_argument("--channel", choices=KINDS, default="awgn", help="(default: %(default)s)")
    rate_help = "channel uses per colour value of a pixel (%(default)s)"
    parser.add_argument("--rate", default="1/16", help=rate_help)
    parser.add_argument("--decoder", choices=("plain", "diffusion"), default="plain", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of noise and fading (%(default)s)")
    return parser


def _transmit(options: argparse.Namespace) -> None:
    try:
        channel, rate = ChannelState(options.snr, options.channel), bandwidth_ratio(options.rate)
    except ValueError as error:
        raise UsageError(str(error)) from error
    original, network = read_picture(options.file), load_network()
    signal = encode(network, original, channel, rate)
    received = carry(channel, signal.symbols, torch.Generator().manual_seed(options.seed))
    decoder = load_decoder() if options.decoder == "diffusion" else None
    picture = decode(network, signal, received, decoder)
    if options.out is not None:
        write_picture(options.out, picture, "" if decoder is None else INVENTED)
    sys.stdout.write(
        f"{signal.size[1]}×{signal.size[0]} pixels, {len(signal.symbols)} symbols and {signal.side_uses} channel uses "
        f"of side information, bandwidth ratio 1/{1 / signal.bandwidth_ratio:.2f}\n"
        f"PSNR {psnr_db(picture, original):.2f} dB\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
