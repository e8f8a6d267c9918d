"""What earlier pictures give a session over a simulated channel: `python -m tests.bench.channel.sequence [CLIP…]`.

Frames of each clip, the largest square in their middle as 256 × 256 pixels, go through the channel as
`sender --channel` sends them.  Each is decoded by itself, and with earlier ones as side information:

    alone, sequence     mean PSNR from the fourth picture on, dB
    gain                its difference
    worst_gain          the least gain of a picture
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from common.arrays import Image
from common.channel.model import ImageChannel
from common.channel.sequence import SequenceReceiver
from common.channel.signal_blob import SignalBlob, Window
from common.channel.state import ChannelState
from common.channel.transmission import Transmitter, lengths_of, load_network, psnr_db
from common.errors import SourceError
from common.imaging.picture_file import read_picture
from sender.capture.open import DEMO_CLIP
from sender.jscc.config import parse_channel
from tests.bench import report

SIDE_PX = 256
_SETTLED = 3
_PICTURES, _QUICK_PICTURES = 30, 8


def frames(clip: Path) -> Iterator[Image]:
    """The frames of a video, or the JPEG files of a folder in the order of their names.

    Raises:
        SourceError: the clip is neither.
    """
    if clip.is_dir():
        yield from (read_picture(path) for path in sorted(clip.glob("*.jpg")))
        return
    try:
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{clip}: cannot be read as a video") from error


def middle(picture: Image) -> Image:
    """The largest square in the middle, `SIDE_PX` a side."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def measured(
    network: ImageChannel, pictures: Sequence[Image], channel: ChannelState, rate: Fraction, seed: int
) -> report.Figures:
    """The figures of one clip over one channel; see the module."""
    transmitter, window = Transmitter(network, channel, rate), Window(0, 0, 0, SIDE_PX, SIDE_PX)
    receivers = SequenceReceiver(network, sequence=False), SequenceReceiver(network)
    found = []
    for sequence, picture in enumerate(pictures):
        signal = transmitter.encode(picture)
        blob = SignalBlob(sequence, 0.0, window, channel, seed, signal, lengths_of(network, signal))
        found.append([psnr_db(receiver.decode(blob).image, picture) for receiver in receivers])
    values = np.array(found[_SETTLED:])
    gains = values[:, 1] - values[:, 0]
    alone, together = values.mean(0)
    return {"alone": alone, "sequence": together, "gain": float(gains.mean()), "worst_gain": float(gains.min())}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel.sequence", __doc__, 0)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP", help="videos or folders of JPEG files")
    parser.add_argument("--channel", nargs="+", default=["awgn:1dB", "awgn:4dB", "awgn:10dB"], help="(%(default)s)")
    parser.add_argument("--rate", type=Fraction, default=Fraction(1, 16), help="bandwidth ratio (%(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take every n-th frame (%(default)s)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    network, count = load_network(), _QUICK_PICTURES if options.quick else _PICTURES
    figures: dict[str, report.Figures] = {}
    for clip in options.clips or [DEMO_CLIP]:
        pictures = [middle(each) for each in islice(frames(clip), 0, count * options.every, options.every)]
        if len(pictures) <= _SETTLED:
            raise SourceError(f"{clip}: too few frames")
        for text in options.channel:
            report.progress(f"{clip.stem}, {text}")
            figures[f"{clip.stem}, {text}"] = measured(
                network, pictures, parse_channel(text), options.rate, options.seed
            )
    report.publish(
        options, figures, f"every frame of {options.every}, bandwidth ratio {options.rate}", every=options.every
    )


if __name__ == "__main__":
    sys.exit(main())
