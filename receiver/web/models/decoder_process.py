"""Decodes one HEIF or AVIF picture: what `receiver.web.models.picture` runs as a process of its own.

    python -m receiver.web.models.decoder_process WIDTH HEIGHT LONGEST < PICTURE

A decoder in C that is led astray ends this process, not the receiver, and gets no more memory and time than it needs.
"""

import contextlib
import io
import resource
import struct
import sys

HEAD = struct.Struct(">IIIIII")
"""What precedes the pixels (RGB): full width and height, width and height of the pixels, EXIF orientation, and
`film_equivalent_mm` or 0."""
_ADDRESS_SPACE_BYTES, _CPU_S = 3_000_000_000, 15


def reduced(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size of a picture whose longer side is at most `longest`."""
    scale = min(1.0, longest / max(size))
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def main(width: int, height: int, longest: int) -> None:
    """Raises ValueError if the picture is larger, and whatever decoders raise."""
    for limit, most in ((resource.RLIMIT_AS, _ADDRESS_SPACE_BYTES), (resource.RLIMIT_CPU, _CPU_S)):
        with contextlib.suppress(ValueError):  # macOS has no limit of the address space
            resource.setrlimit(limit, (most, most))
    # Imported here: the receiver needs none of it.
    from PIL import Image

    from common.imaging.exif import film_equivalent_mm, orientation_of
    from common.imaging.heif import register_heif

    register_heif()
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("HEIF", "AVIF")) as image:
        _check(image.size, width, height)
        turned, equivalent_mm = orientation_of(image), film_equivalent_mm(image) or 0
        image.load()
        _check(image.size, width, height)
        full = image.size
        pixels = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = pixels.resize(reduced(full, longest), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if pixels.mode == "RGBA":
        pixels = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB")
    sys.stdout.buffer.write(HEAD.pack(*full, *pixels.size, turned, equivalent_mm) + pixels.tobytes())


def _check(size: tuple[int, int], width: int, height: int) -> None:
    """Raises ValueError if a picture is larger than its container says, which may crop and turn it."""
    if min(size) > min(width, height) or max(size) > max(width, height):
        raise ValueError(f"the picture has {size[0]} × {size[1]} pixels, not {width} × {height}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
