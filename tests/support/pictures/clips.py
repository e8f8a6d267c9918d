"""Videos, written picture by picture."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

from common.arrays import Image

# Of times that are given: a millisecond.
_TICK_S = Fraction(1, 1000)


def write_clip(
    path: Path,
    images: Sequence[Image],
    codec: str = "libx264",
    *,
    fps: int = 10,
    times_s: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    muxer: str = "",
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Writes RGB pictures (H, W, 3) as a video.

    Args:
        times_s: of the pictures; evenly spaced by default.
        muxer: flags of the container MP4.
        prepare: changes the stream before its first picture.
    """
    with av.open(str(path), "w", options={"movflags": muxer} if muxer else {}) as container:
        stream = cast(Any, container.add_stream(codec, rate=fps, options=options or {}))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times_s is not None:
            stream.codec_context.time_base = _TICK_S
        prepare(stream)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if times_s is None else round(times_s[number] / _TICK_S)
            frame.time_base = Fraction(1, fps) if times_s is None else _TICK_S
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
