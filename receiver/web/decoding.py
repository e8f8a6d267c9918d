"""Reads and checks one upload, as a program: what `receiver.web.decoder` runs as a process of its own.

    python -m receiver.web.decoding < UPLOAD

Stdin has `picture` or `clip`, a newline, and the picture or the path of the clip.  It writes a line of JSON, the facts
or `{"refused": [status, detail]}`, and behind it the decoded pictures: upright, without anything but pixels and focal
length.
"""

import io
import json
import os
import resource
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.container import InputContainer
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from common.imaging.pictures import (
    ANIMATED,
    TRANSPOSED,
    animation,
    excess,
    exif_of_lens,
    film_equivalent_mm,
    is_animation,
    open_image,
    orientation_of,
    picture_count,
    register_heif,
    to_rgb,
    turned_upright,
)
from receiver.web.decoder import MAX_CLIP_S, MAX_PIXELS
from receiver.web.places import Refused

# For a picture of 50 million pixels; seconds of the processor.
_ADDRESS_SPACE_BYTES, _CPU_S = 3_000_000_000, 30
MAX_FPS = 60
"""Frames a second of a clip."""
# Pixels of a picture or frame; nobody can be found in less.
_MIN_SIDE = 32
_HEAD_BYTES = 12
# From one frame to the next; a time that is further off, or behind, is damaged or begins again.
_MOST_STEP_S = 5.0
_DAMAGED = "the clip is damaged or incomplete: export it again"
# FFmpeg's names of the containers, and what files of each are called; Pillow's names of images.
_CONTAINERS = {"mov": ".mp4", "matroska": ".mkv"}
_SUFFIXES = _CONTAINERS | {name: f".{name.lower()}" for name in ANIMATED}
# A file may name others: none is opened.
_OPTIONS = {"protocol_whitelist": "file"}


def main() -> None:
    """Decodes what stdin has, within its limits; raises whatever decoders raise."""
    for limit, most in ((resource.RLIMIT_AS, _ADDRESS_SPACE_BYTES), (resource.RLIMIT_CPU, _CPU_S)):
        with suppress(ValueError):  # macOS has no limit of the address space
            # Where both limits are one, the kernel ends the process without saying which.
            resource.setrlimit(limit, (most, most + 1))
    kind, _, given = sys.stdin.buffer.read().partition(b"\n")
    if not kind:  # the receiver has ended
        return
    content = b""
    try:
        if kind == b"picture":
            facts, content = read_picture(given)
        else:
            facts = read_clip(os.fsdecode(given))
    except Refused as error:
        facts = {"refused": [error.status, error.detail]}
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + content)


def read_clip(path: str) -> dict[str, Any]:
    """The facts of a `CheckedClip`.

    Raises:
        Refused: it is no clip (415), too large or too long (413), or cannot be used (422).
    """
    # The size is checked before anything is decoded.
    PillowImage.MAX_IMAGE_PIXELS = None
    try:
        file_format = _format(Path(path))
        measured = _measured if file_format in _CONTAINERS else _animated
        width, height, frames, seconds = measured(path, file_format)
    except Refused:
        raise
    # FFmpeg's readers and Pillow's raise almost any exception for damaged files with a valid head.
    except Exception as error:
        raise Refused(422, _DAMAGED) from error
    if not frames:
        raise Refused(422, "the file has no video that can be decoded: export it again")
    _check_size("clip", width, height)
    if seconds > MAX_CLIP_S:
        most = f"at most {MAX_CLIP_S:g} s are accepted"
        raise Refused(413, f"the clip is {seconds:.0f} s long, {most}: cut it")
    if frames > MAX_FPS * (seconds + 1):
        raise Refused(413, f"the clip has more than {MAX_FPS} frames a second: export it with fewer")
    return {"suffix": _SUFFIXES[file_format], "frames": frames}


def _format(path: Path) -> str:
    """Pillow's name of an image that moves, or FFmpeg's of a container, by the first bytes: no other one is tried."""
    with suppress(OSError), open_image(path, ANIMATED) as image:
        if not is_animation(image):
            raise Refused(415, "this is a picture and no clip: upload it as a picture")
        return str(image.format)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    raise Refused(415, "this is no clip: send MP4, MOV, WebM, Matroska, or a GIF, APNG, WebP or AVIF that moves")


def _measured(path: str, container_format: str) -> tuple[int, int, int, float]:
    """Width, height, number of frames, and seconds, counted in packets; what is damaged or cut has fewer."""
    with av.open(f"file:{path}", format=container_format, options=_OPTIONS, metadata_errors="replace") as container:
        stream = container.streams.best("video")
        first = _first_frame(container, stream) if isinstance(stream, av.VideoStream) else None
        if first is None or stream is None:
            return 0, 0, 0, 0.0
        container.seek(0)
        times = list[float]()
        with suppress(av.FFmpegError):  # it is cut there; the sender says when
            for packet in container.demux(stream):
                at = packet.pts if packet.dts is None else packet.dts
                if packet.size and at is not None:
                    times.append(float(at * packet.time_base))
        steps = (later - earlier for earlier, later in pairwise(times))
        return first.width, first.height, len(times), sum(min(max(step, 0.0), _MOST_STEP_S) for step in steps)


def _animated(path: str, image_format: str) -> tuple[int, int, int, float]:
    """The same of an animated image, whose pictures are decoded; what is damaged or cut ends it."""
    durations_s = list[float]()
    with open_image(Path(path), (image_format,)) as image:
        width, height = image.size
        _check_size("clip", width, height)
        if (text := excess(image)) is not None:
            raise Refused(413, f"the clip {text}")
        with suppress(Exception):  # the sender says how far it goes
            for shown_s in animation(image):
                durations_s.append(shown_s)
                if sum(durations_s) > MAX_CLIP_S:
                    break
    return width, height, len(durations_s), sum(durations_s)


def _first_frame(container: InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    """The first frame that shows something, as the sender decodes it. Raises FFmpegError where no more can be read."""
    decoder = stream.codec_context
    if decoder is None:
        raise Refused(422, "the clip is coded in a format that cannot be decoded: convert it, for example to H.264")
    decoder.flags |= Flags.output_corrupt
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    for packet in container.demux(stream):
        with suppress(av.FFmpegError):
            for frame in packet.decode():
                return frame
    return None


_FORMATS, _OF_CONTAINERS = ("JPEG", "PNG", "WEBP", "GIF"), ("HEIF", "AVIF")
# Perception reads crops of some hundred pixels, so that a longer side adds time only.
_MAX_SIDE, _SHOWN_SIDE = 2560, 1024
_MAX_RATIO = 20
_QUALITY, _SHOWN_QUALITY = 95, 85


def read_picture(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The facts of a `DecodedPicture`, and both of its pictures.

    Raises:
        Refused: it is no picture (415), too large (413), or cannot be used (422).
    """
    is_contained = content[4:8] == b"ftyp"
    if is_contained:
        register_heif()
    # The size is checked before anything is decoded.
    PillowImage.MAX_IMAGE_PIXELS = None
    try:
        return _read(content, _OF_CONTAINERS if is_contained else _FORMATS)
    except Refused:
        raise
    except UnidentifiedImageError as error:
        what = "the file is no picture" if content.strip() else "the file is empty"
        raise Refused(415, f"{what}: upload a JPEG, PNG, WebP, HEIC, AVIF or GIF picture") from error
    except MemoryError as error:
        raise Refused(413, "the picture takes too much memory: shrink it") from error
    # Pillow's decoders raise almost any exception for damaged files with a valid header.
    except Exception as error:
        raise Refused(422, "the picture is damaged or incomplete: export it again") from error


def _read(content: bytes, formats: tuple[str, ...]) -> tuple[dict[str, Any], bytes]:
    with PillowImage.open(io.BytesIO(content), formats=formats) as opened:
        width, height = opened.size
        _check_size("picture", width, height)
        if max(width, height) > _MAX_RATIO * min(width, height):
            raise Refused(422, f"the picture has {width} × {height} pixels: cut out the people")
        pictures = picture_count(opened)
        orientation, equivalent_mm = orientation_of(opened), film_equivalent_mm(opened)
        scale = min(1.0, _MAX_SIDE / max(width, height))
        wanted = max(round(width * scale), 1), max(round(height * scale), 1)
        opened.draft(None, wanted)  # a JPEG is decoded at a half or a quarter where that is enough
        opened.load()
        image = to_rgb(opened)
    if image.size != wanted:
        image = image.resize(wanted, PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
    image = turned_upright(image, orientation)
    if orientation >= TRANSPOSED:
        width, height = height, width
    picture = _encoded(image, _QUALITY, equivalent_mm)
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
    facts = {"width": width, "height": height, "pictures": pictures, "content_bytes": len(picture)}
    return facts, picture + _encoded(image, _SHOWN_QUALITY)


def _check_size(noun: str, width: int, height: int) -> None:
    """Raises Refused: 413 for a picture or frame with too many pixels, 422 with too few."""
    size = f"the {noun} has {width} × {height} pixels"
    if width * height > MAX_PIXELS:
        raise Refused(413, f"{size}, at most {MAX_PIXELS / 1e6:g} million are accepted: shrink it")
    if min(width, height) < _MIN_SIDE:
        raise Refused(422, f"{size}: nobody can be found below {_MIN_SIDE}")


def _encoded(image: PillowImage.Image, quality: int, equivalent_mm: int | None = None) -> bytes:
    # `info` could hold comments and profiles of the upload.
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=b"" if equivalent_mm is None else exif_of_lens(equivalent_mm))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
