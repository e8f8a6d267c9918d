"""Rendered clips of the benches: their frames as JPEG, and the files that keep them."""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, Image
from common.errors import SourceError
from common.io.atomic_write import atomic_replacement
from common.synthetic.scene.degradations import add_sensor_noise

_JPEG_QUALITY = 88


def encoded(picture: Image) -> ByteArray:
    """A frame (H, W, 3) RGB as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return np.asarray(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].reshape(-1), np.uint8)


def encoded_with_noise(rng: np.random.Generator, picture: npt.ArrayLike) -> ByteArray:
    """A rendered frame (H, W, 3) RGB 0…255 with a sensor's noise, as JPEG."""
    noisy = add_sensor_noise(rng, np.asarray(picture, np.float32))
    return encoded(np.clip(noisy, 0, 255).astype(np.uint8))


def decoded(frames: Sequence[ByteArray]) -> Iterator[Image]:
    """The frames (H, W, 3) RGB of a clip.

    Raises:
        SourceError: a frame is damaged.
    """
    for data in frames:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is None:
            raise SourceError("a frame of a rendered clip is damaged: empty the folder --clips")
        yield np.ascontiguousarray(picture[..., ::-1], np.uint8)


def save_clip(path: Path, frames: Sequence[ByteArray], **arrays: Any) -> None:
    """Writes the JPEG frames of a clip, and what else is known of it, to a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(data) for data in frames])
    with atomic_replacement(path) as partial, open(partial, "wb") as output:
        np.savez(output, ends=ends, encoded=np.concatenate(frames), **arrays)


def frames_in(file: Mapping[str, npt.NDArray[Any]]) -> tuple[ByteArray, ...]:
    """The JPEG frames in an open file of `save_clip`."""
    return tuple(np.split(file["encoded"], file["ends"][:-1]))


def add_clips_flag(parser: argparse.ArgumentParser, bench: str) -> None:
    """Adds `--clips`, the folder that keeps the clips of a bench."""
    parser.add_argument(
        "--clips",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / f"bodywire-{bench}",
        help="folder that keeps the rendered clips (default: %(default)s)",
    )
