"""Folders of photographs to train tiny networks on."""

from pathlib import Path

from sender.train.photographs.dataset import convert
from tests.support.pictures.photograph_sources import write_photographs


def picture_flags(folder: Path) -> list[str]:
    """Of a training on 39 photographs, of which 33 are trained on."""
    convert(write_photographs(folder / "sources"), folder / "photographs")
    return ["--photographs", str(folder / "photographs"), "--batch", "4"]
