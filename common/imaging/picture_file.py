"""Pictures in files, as RGB of 8 bits."""

import io
from pathlib import Path

import numpy as np
from PIL import Image as Pictures

from common.arrays import Image
from common.errors import OutputError, SourceError
from common.io.atomic_write import atomic_write


def read_picture(path: Path) -> Image:
    """(height, width, 3) RGB. Raises SourceError if the file is missing or no picture."""
    try:
        with Pictures.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such file") from error
    except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise SourceError(f"{path}: cannot be read as a picture") from error


def write_picture(path: Path, picture: Image) -> None:
    """Writes an RGB picture (height, width, 3) as JPEG if the name ends with .jpg or .jpeg, else as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.BytesIO()
    Pictures.fromarray(picture).save(stream, "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG")
    try:
        atomic_write(path, stream.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
