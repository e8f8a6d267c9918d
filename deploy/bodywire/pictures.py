"""What `reconstruct` takes for a picture."""

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image as PillowImage

from common.arrays import ByteArray
from common.errors import SourceError
from sender.capture.images import Picture, decode_image, picture_of, read_image, reading
from sender.capture.source import check_is_no_address, printable_name

PictureLike: TypeAlias = str | os.PathLike[str] | bytes | bytearray | PillowImage.Image | ByteArray

_NAME = "picture"
_COLOURS = ((3,), (4,))
_CHANNELS = (1, 3, 4)
# Pillow makes no RGB of these.
_OTHER_MODES = ("F", "La")
_ARRAYS = "an array of uint8, (H, W) or (H, W, 1) grey, (H, W, 3) RGB, or (H, W, 4) RGBA"

# By the kind of an array's numbers.
_IN_BYTES = {
    "f": ': if white is 1, give (255 * picture).round().astype("uint8")',
    "i": ': if white is 255, give picture.astype("uint8")',
    "b": ': give (255 * picture).astype("uint8")',
}


def read_picture(picture: PictureLike) -> tuple[str, Picture]:
    """The name and the content of a picture; errors as of `reconstruct`."""
    if isinstance(picture, str | os.PathLike):
        return _read(os.fspath(picture))
    if isinstance(picture, bytes | bytearray):
        return _NAME, decode_image(bytes(picture))
    if isinstance(picture, PillowImage.Image):
        return _of_pillow(picture)
    if not hasattr(picture, "__array__") or isinstance(picture, np.generic):
        kind = f"{type(picture).__name__}{_hint(picture)}"
        raise TypeError(f"a picture is the path or content of an image file, a Pillow image, or {_ARRAYS}; not {kind}")
    return _NAME, _of_array(np.asarray(picture))


def _read(name: str) -> tuple[str, Picture]:
    check_is_no_address(name)
    path = Path(name)
    if path.is_dir():
        raise SourceError(f"{path} is a folder: stream gives the people of all its images")
    return printable_name(path.name), read_image(path)


def _of_pillow(image: PillowImage.Image) -> tuple[str, Picture]:
    name = printable_name(Path(getattr(image, "filename", "")).name) or _NAME
    if 0 in image.size or image.mode in _OTHER_MODES:
        raise ValueError(f"a Pillow image of {image.size} in mode {image.mode} is no picture: convert it to RGB")
    with reading(name):
        return name, picture_of(image)


def _of_array(array: Any) -> Picture:
    grey = array.ndim == 2 or array.shape[2:] == (1,)
    if array.dtype != np.uint8 or array.size == 0 or not (grey or array.shape[2:] in _COLOURS):
        raise ValueError(f"a picture is {_ARRAYS}; not {array.shape} {array.dtype}{_remedy(array)}")
    array = np.ascontiguousarray(array.reshape(array.shape[:2]) if grey else array)
    return Picture(array) if array.shape[2:] == (3,) else picture_of(PillowImage.fromarray(array))


def _remedy(array: Any) -> str:
    """What to do about an array that is no picture."""
    if array.ndim == 4:
        return ": call it for each picture"
    if array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS:
        return ": give picture.transpose(1, 2, 0)"
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        white = np.iinfo(array.dtype).max
        return f': if white is {white}, give (picture // {white // 255}).astype("uint8")'
    return _IN_BYTES.get(array.dtype.kind, "")


def _hint(picture: object) -> str:
    """What to do about something else."""
    if isinstance(picture, list | tuple):
        return ": call it for each picture"
    if hasattr(picture, "read"):
        return ": give what its read() returns"
    return f": stream({picture}) reads a camera" if isinstance(picture, int) else ""
