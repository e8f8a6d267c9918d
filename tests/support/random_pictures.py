"""Folders of pictures to train tiny networks on."""

from pathlib import Path

import numpy as np

from common.imaging.picture_file import write_picture


def picture_flags(folder: Path, count: int = 42, side: int = 32) -> list[str]:
    """Of a training on pictures of noise, of which one in 40 is held back."""
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        write_picture(pictures / f"{number:02d}.png", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return ["--data", str(pictures), "--cache", str(folder / "cache"), "--batch", "4"]
