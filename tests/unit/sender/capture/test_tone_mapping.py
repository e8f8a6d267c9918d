"""Colours of HDR videos are those of the SDR picture that they were made from."""

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from common.arrays import FloatArray, Image
from sender.capture.video import VideoFileSource

# From the primaries of BT.709 to those of BT.2020, both linear (BT.2087).
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light: FloatArray) -> FloatArray:
    """The signal of white at 203 cd/m² (BT.2100, BT.2408)."""
    power = (light * 203 / 10_000) ** (2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def hlg(light: FloatArray) -> FloatArray:
    """The signal of white at 75 %, of the light of the scene."""
    light = light * 0.26496
    logarithmic = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), logarithmic)


def patches() -> Image:
    """Forty-eight colours, black, white and the primaries among them."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3))
    colours[0, :5] = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return np.kron(colours, np.ones((16, 16, 1))).astype(np.uint8)


@pytest.mark.parametrize(("signal", "transfer"), [(pq, "smpte2084"), (hlg, "arib-std-b67")])
def test_colours_are_those_of_the_sdr_picture(tmp_path: Path, signal: Any, transfer: str) -> None:
    sdr = patches()
    levels = sdr / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4) @ TO_2020.T
    coded = np.rint(65_535 * np.clip(signal(np.clip(light, 0, None)), 0, 1)).astype(np.uint16)
    # Without B-frames and threads the one packet always has a time of decoding.
    parameters = (
        f"log-level=none:bframes=0:frame-threads=1:pools=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    )
    with av.open(str(tmp_path / "hdr.mp4"), "w") as container:
        stream = cast(Any, container.add_stream("libx265", rate=10, options={"x265-params": parameters, "crf": "6"}))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        frame = av.VideoFrame.from_ndarray(coded, format="rgb48le").reformat(format="yuv420p10le", dst_colorspace=9)
        frame.pts, frame.time_base, frame.colorspace = 0, Fraction(1, 10), 9
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoFileSource(tmp_path / "hdr.mp4") as source:
        (shown,) = source
    difference = shown.image[8::16, 8::16].astype(int) - sdr[8::16, 8::16]
    assert np.abs(difference).max() <= 8 and abs(difference.mean()) < 1
