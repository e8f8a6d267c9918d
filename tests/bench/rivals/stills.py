"""Crops of one person as JPEG, WebP or AVIF pictures, perceived and labelled at the receiver.

The sender cuts each frame to the square that perception would read, at its size or less: no pixel is sent that the
networks do not use.  It needs to find people for that, but to reconstruct nobody.
"""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import features

from common.arrays import FloatArray, Image
from common.frames import Camera
from sender.perception.inference.predictor import Perception
from sender.perception.stage import ObservedPerson
from sender.semantics.config import SmoothingConfig
from sender.semantics.stage import SemanticsStage

# AVIF's speed is 0 (slowest) to 10: with 8 a crop takes less time than the networks.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {"AVIF": {"speed": 8, "max_threads": 1}, "JPEG": {"optimize": True}}


@dataclass(frozen=True, slots=True)
class Still:
    """How crops are encoded.

    Args:
        scale: the crop has 1 / scale of perception's input size.
    """

    format: str
    scale: int
    quality: int

    def __str__(self) -> str:
        return f"{self.format}, 1/{self.scale}, quality {self.quality}"

    def encode(self, picture: Image) -> bytes:
        """The picture (S, S, 3) RGB as a file."""
        file = io.BytesIO()
        options = _OPTIONS.get(self.format, {})
        PillowImage.fromarray(picture).save(file, self.format, quality=self.quality, **options)
        return file.getvalue()


def decode(data: bytes) -> Image:
    """The picture (S, S, 3) RGB of a file."""
    return np.asarray(PillowImage.open(io.BytesIO(data)).convert("RGB"), np.uint8)


FORMATS = ("JPEG", "WEBP", "AVIF")
_FEATURES: Mapping[str, str] = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif"}
_QUALITIES: Mapping[str, Sequence[int]] = {
    "JPEG": (10, 25, 50, 75, 92),
    "WEBP": (5, 25, 50, 75, 92),
    "AVIF": (10, 25, 40, 60, 85),
}
_SCALES = (1, 2)


def missing(name: str) -> str | None:
    """What Pillow lacks for a format; None if it lacks nothing."""
    if features.check(_FEATURES[name]):
        return None
    return f"Pillow was built without {name}: pip install 'pillow>=11.3', whose wheels have it"


def settings(name: str, quick: bool) -> list[Still]:
    """All settings of a format, or some."""
    scales, stride = (_SCALES[:1], 2) if quick else (_SCALES, 1)
    return [Still(name, scale, quality) for scale in scales for quality in _QUALITIES[name][::stride]]


@dataclass(frozen=True, slots=True)
class SentCrops:
    """Crops of a clip at the receiver.

    Args:
        encode_ms, decode_ms: mean time of a crop.
    """

    sizes: tuple[int, ...]
    pictures: tuple[Image, ...]
    encode_ms: float
    decode_ms: float


def through_stills(still: Still, crops: Sequence[Image]) -> SentCrops:
    began_s = time.perf_counter()
    files = [still.encode(crop) for crop in crops]
    encoded_s = time.perf_counter()
    pictures = tuple(decode(data) for data in files)
    to_ms = 1e3 / len(crops)
    return SentCrops(
        tuple(map(len, files)),
        pictures,
        (encoded_s - began_s) * to_ms,
        (time.perf_counter() - encoded_s) * to_ms,
    )


class CropReceiver:
    """Perception and semantics on received crops; people are told apart by the sender.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._perception = Perception.load()
        self._semantics = SemanticsStage.load(SmoothingConfig())
        self.frame_ms = float("nan")
        """Mean time of a frame of the last clip."""

    def cut(self, pictures: Sequence[Image], people: Sequence[ObservedPerson], scale: int) -> list[Image]:
        """The square of each frame that perception would read, at 1 / scale of its size."""
        size = self._perception.size // scale
        return [person.crop.cut(picture, size) for picture, person in zip(pictures, people, strict=True)]

    def labels(
        self, crops: Sequence[Image], people: Sequence[ObservedPerson], camera: Camera, fps: float
    ) -> Iterator[Mapping[str, FloatArray]]:
        """Labels of each crop.

        Args:
            crops: received, one a frame.
            people: who is seen where; what perception made of the uncompressed frame is replaced.
        """
        self._semantics.reset()
        began_s = time.perf_counter()
        for number, (crop, person) in enumerate(zip(crops, people, strict=True)):
            observed = replace(person, output=self._perception.observe([crop]))
            yield self._semantics.label([observed], camera, number / fps)[0].labels
        self.frame_ms = (time.perf_counter() - began_s) * 1e3 / len(crops)
