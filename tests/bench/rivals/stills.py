"""Crops of one person as JPEG, WebP or AVIF pictures, perceived and labelled at the receiver.

The sender cuts each frame to the square that perception would read, at its size or less: no pixel is sent that the
networks do not use.  It needs to find people for that, but to reconstruct nobody.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from common.arrays import Image

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
