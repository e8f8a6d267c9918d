"""Quality of pictures after a simulated noisy channel: `python -m tests.bench.channel`.

Without --pictures, the photographs that ship with the sender, on which the image channel was trained.  All systems have
the same bandwidth ratio (--rate): channel uses per colour value of a pixel, with those of side information at capacity.

  bodywire             what sessions send: importance where perception sees people, lengths by expected error
  equal importance     the same with lengths that do not know where people are
  deepjscc             with --trained: the baseline that `tests.bench.channel.deepjscc` trained for the rate; AWGN only
  webp at capacity     a WebP file behind an ideal code: the largest quality that passes without loss; likewise AVIF

Means over the pictures, here on AWGN of 10 dB; `psnr_db_10_rayleigh`: block fading with known gains, mean SNR 10 dB:

  sent_share_10            share of the pictures whose symbols or files fit; the others have no figures
  psnr_db_10, ms_ssim_10   larger is better
  butteraugli_10           3-norm of the distance that people see, like ssimulacra_10: smaller is better
  mask_db_10               PSNR where perception sees people, of the pictures with people
  keypoints_percent_10     how far the keypoints are that perception reads from those of the original, in the same
                           crops of people, whose side is 100 %; mask_iou_10: IoU of the masks
  channel_uses_per_pixel_10
  psnr_db_change           what a system changes against bodywire, mean over the channels (likewise `mask_db`,
                           `keypoints_percent` and `mask_iou`); psnr_db_error: its standard error over the pictures
"""

import argparse
import bisect
import io
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image as Pictures

from common.arrays import BoolArray, ByteArray, Image
from common.channel.channel import capacity_bits, carry
from common.channel.image_codec import ImageChannel, decode, encode, load_network
from common.channel.state import ChannelState
from common.errors import UsageError
from common.frames import Camera
from common.imaging.grid import STRIDE, latent_grid
from common.imaging.pictures import guessed_focal_px
from sender.capture.open import DEMO_PHOTOGRAPHS
from sender.config import TrackingConfig
from sender.image_channel import importance_of
from sender.perception.crop import CropBox
from sender.perception.perception_stage import PerceptionStage
from sender.perception.predictor import Perception
from sender.train.photographs.dataset import read_image
from tests.bench import measures, report
from tests.bench.channel import deepjscc
from tests.bench.channel.distances import Distances, Figures, People

CHANNELS: Final = (*(ChannelState(snr_db) for snr_db in (1, 4, 7, 10, 13)), ChannelState(10, "rayleigh"))
_QUICK_PICTURES: Final = 2
_COMPARED: Final = ("psnr_db", "mask_db", "keypoints_percent", "mask_iou")
_SCALES: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A picture (H, W, 3), the levels (H/16, W/16) of its positions, and what is read of people; None without them."""

    picture: Image
    importance: ByteArray | None
    people: Callable[[Image], Figures] | None = None

    @property
    def mask(self) -> BoolArray | None:
        """(H, W) the positions with people."""
        if self.importance is None:
            return None
        height, width = self.picture.shape[:2]
        return np.kron(self.importance > 0, np.ones((STRIDE, STRIDE), np.bool_))[:height, :width]


class Sent(NamedTuple):
    """A picture that arrived, and the bandwidth ratio that it took."""

    picture: Image
    ratio: float


System = Callable[[Case, ChannelState, Fraction, int], Sent | None]
"""Sends a picture over a channel at a bandwidth ratio, with a seed; None if it cannot."""


class CaseReader:
    """Reads pictures, and finds the people in them."""

    def __init__(self) -> None:
        self._stage, self._perception = PerceptionStage.load(TrackingConfig(quality="full")), Perception.load()

    def read(self, path: Path) -> Case:
        whole = read_image(path)
        # The baseline exceeds its rate where positions are not whole.
        height, width = (side - side % STRIDE for side in whole.shape[:2])
        picture = np.ascontiguousarray(whole[:height, :width])
        self._stage.reset()
        observed = self._stage.process(picture, Camera(width, height, guessed_focal_px(width, height)))
        rows, columns = latent_grid((height, width))
        side = STRIDE * max(rows, columns)
        levels = importance_of(CropBox(0, 0, side), side, observed)
        people = People(self._perception, [person.crop for person in observed], picture) if observed else None
        return Case(picture, None if levels is None else levels[:rows, :columns], people)


@dataclass(frozen=True, slots=True)
class Channel:
    """The image channel, or what a bypass leaves of it."""

    network: ImageChannel
    important: bool = True

    def __call__(self, case: Case, channel: ChannelState, rate: Fraction, seed: int) -> Sent | None:
        importance = case.importance if self.important else None
        try:
            signal = encode(self.network, case.picture, channel, rate, importance)
        except UsageError:
            return None
        received = carry(channel, signal.symbols, torch.Generator().manual_seed(seed))
        return Sent(decode(self.network, signal, received), signal.bandwidth_ratio)


@dataclass(frozen=True, slots=True)
class FilesAtCapacity:
    """The best picture of the files of a format that pass, of the resolutions by which sides are divided."""

    form: str

    def __call__(self, case: Case, channel: ChannelState, rate: Fraction, _: int) -> Sent | None:
        height, width = case.picture.shape[:2]
        budget, best = float(rate) * case.picture.size * capacity_bits(channel) / 8, None
        for scale in _SCALES:
            sides = (width // scale, height // scale)
            reduced = np.asarray(cv2.resize(case.picture, sides, interpolation=cv2.INTER_AREA), np.uint8)
            qualities = range(101)
            quality = bisect.bisect_right(qualities, budget, key=lambda each: len(self._file(reduced, each))) - 1
            if quality < 0:
                continue
            data = self._file(reduced, quality)
            decoded = np.asarray(Pictures.open(io.BytesIO(data)).convert("RGB"))
            picture = np.asarray(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
            if best is None or psnr_db(picture, case.picture) > psnr_db(best.picture, case.picture):
                best = Sent(picture, 8 * len(data) / capacity_bits(channel) / case.picture.size)
        return best

    def _file(self, picture: Image, quality: int) -> bytes:
        stream = io.BytesIO()
        Pictures.fromarray(picture).save(stream, self.form, quality=quality, speed=10, max_threads=1)
        return stream.getvalue()


def psnr_db(picture: Image, original: Image) -> float:
    """Peak signal-to-noise ratio of 8-bit RGB."""
    error = float(np.square(picture.astype(np.float64) - original).mean())
    return 10 * math.log10(255**2 / max(error, 1e-10))


def systems(folders: Sequence[Path], rate: Fraction) -> dict[str, System]:
    """See the module.

    Raises:
        WeightsError: weights are missing, damaged or of another version.
    """
    network = load_network()
    found: dict[str, System] = {
        "bodywire": Channel(network),
        "equal importance": Channel(network, important=False),
    }
    for baseline in deepjscc.trained(folders):
        if baseline.config.rate == rate:
            found["deepjscc"] = _baseline(baseline)
    return {**found, "webp at capacity": FilesAtCapacity("WEBP"), "avif at capacity": FilesAtCapacity("AVIF")}


def _baseline(network: deepjscc.DeepJscc) -> System:
    def send(case: Case, channel: ChannelState, rate: Fraction, seed: int) -> Sent | None:
        if channel.kind != "awgn":
            return None
        return Sent(*deepjscc.send(network, case.picture, channel, seed))

    return send


def measured(
    compared: Mapping[str, System],
    cases: Sequence[Case],
    channels: Sequence[ChannelState],
    rate: Fraction,
    seed: int,
    distances: Callable[[Image, Image], Figures],
) -> dict[str, list[Figures]]:
    """Figures of each system, one dictionary a picture."""
    found: dict[str, list[Figures]] = {name: [{} for _ in cases] for name in compared}
    for number, case in enumerate(cases):
        report.progress(f"picture {number + 1} of {len(cases)}")
        for (name, system), channel in itertools.product(compared.items(), channels):
            sent, figures = system(case, channel, rate, seed + number), found[name][number]
            key = f"{channel.snr_db:g}" + ("" if channel.kind == "awgn" else "_rayleigh")
            figures[f"sent_share_{key}"] = float(sent is not None)
            if sent is None:
                continue
            assert sent.ratio <= rate * (1 + 1e-9), f"{name} exceeds the budget at {channel}"
            now = {"psnr_db": psnr_db(sent.picture, case.picture), "channel_uses_per_pixel": 3 * sent.ratio}
            now |= distances(sent.picture, case.picture)
            if case.mask is not None:
                now["mask_db"] = psnr_db(sent.picture[case.mask], case.picture[case.mask])
            if case.people is not None:
                now |= case.people(sent.picture)
            figures |= {f"{name}_{key}": value for name, value in now.items()}
    return found


def means(found: Mapping[str, list[Figures]]) -> dict[str, Figures]:
    """Over the pictures that have a figure, and the change of each system against bodywire."""
    whole, table = found["bodywire"], {}
    for name, pictures in found.items():
        keys = dict.fromkeys(key for figures in pictures for key in figures)
        table[name] = {key: float(np.mean([each[key] for each in pictures if key in each])) for key in keys}
        for figure in _COMPARED if name != "bodywire" else ():
            pairs = zip(pictures, whole, strict=True)
            changes = np.array([_change(figure, ours, theirs) for ours, theirs in pairs])
            known = changes[np.isfinite(changes)]
            if len(known):
                table[name][f"{figure}_change"] = float(known.mean())
                table[name][f"{figure}_error"] = measures.standard_error(known)
    return table


def _change(figure: str, ours: Figures, theirs: Figures) -> float:
    """Mean over the channels that both have; NaN without any."""
    keys = [key for key in ours if key.startswith(f"{figure}_") and key in theirs]
    return math.fsum(ours[key] - theirs[key] for key in keys) / len(keys) if keys else math.nan


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel", __doc__, 1)
    parser.add_argument(
        "--pictures", type=Path, default=DEMO_PHOTOGRAPHS, metavar="DIR", help="folder of test pictures, JPEG or PNG"
    )
    parser.add_argument("--trained", type=Path, nargs="+", default=[], metavar="DIR", help="folders with a DeepJSCC")
    parser.add_argument(
        "--channels", type=ChannelState.from_text, nargs="+", default=CHANNELS, metavar="CHANNEL", help="as awgn:10dB"
    )
    parser.add_argument("--rate", type=Fraction, default=Fraction(1, 16), help="bandwidth ratio (default: %(default)s)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    files = sorted(options.pictures.glob("*.[jp][pn]g"))[: _QUICK_PICTURES if options.quick else None]
    distances, reader = Distances(), CaseReader()
    cases = [reader.read(path) for path in files]
    compared = systems(options.trained, options.rate)
    found = measured(compared, cases, options.channels, options.rate, options.seed, distances)
    report.publish(options, means(found), f"{len(cases)} pictures at {options.rate}", pictures=len(cases))


if __name__ == "__main__":
    sys.exit(main())
