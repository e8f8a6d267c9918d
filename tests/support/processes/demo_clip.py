"""The demo clip in other forms: longer or shorter, as pictures, and as a fake camera's video."""

import io
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from sender.capture.open import DEMO_CLIP

_JPEG_QUALITY = 90


def looped_clip(path: Path, times: int) -> Path:
    """The demo clip several times in a row, without encoding it again."""
    with av.open(str(DEMO_CLIP)) as first, av.open(str(path), "w") as output:
        target = output.add_stream_from_template(first.streams.video[0])
        shift = 0
        for _ in range(times):
            end = 0
            with av.open(str(DEMO_CLIP)) as container:
                for packet in container.demux(video=0):
                    if packet.dts is None or packet.pts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = target
                    output.mux(packet)
            shift += end
    return path


def beginning(path: Path, frames: int, rate: int = 30) -> Path:
    """The first frames of the demo clip as a video of so many frames a second."""
    with av.open(str(DEMO_CLIP)) as clip, av.open(str(path), "w") as output:
        source = clip.streams.video[0]
        target = output.add_stream("mpeg4", rate=rate)
        target.width, target.height, target.bit_rate = source.width, source.height, 4_000_000
        for number, frame in enumerate(islice(clip.decode(source), frames)):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            output.mux(target.encode(picture))
        output.mux(target.encode())
    return path


def demo_picture(number: int = 0) -> bytes:
    """A frame of the demo clip as JPEG."""
    with av.open(str(DEMO_CLIP)) as container:
        return _jpeg(next(islice(container.decode(video=0), number, None)))


def demo_pictures(count: int, people: int = 1) -> list[bytes]:
    """Frames of the demo clip, evenly spread from its first to its last, as JPEG.

    Args:
        people: so many, beside each other, each at another place of the clip.
    """
    with av.open(str(DEMO_CLIP)) as container:
        frames = list(container.decode(video=0))
    shown = [frames[int(index)] for index in np.linspace(0, len(frames) - 1, count)]
    return [_jpeg(*(shown[number - person * count // people] for person in range(people))) for number in range(count)]


def _jpeg(*frames: av.VideoFrame) -> bytes:
    buffer = io.BytesIO()
    picture = np.concatenate([frame.to_ndarray(format="rgb24") for frame in frames], axis=1)
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def fake_camera(path: Path, frames: int = 60, width: int = 640, height: int = 360) -> Path:
    """Every third frame of the demo clip as YUV4MPEG2, which Chromium plays as its camera again and again."""
    with av.open(str(DEMO_CLIP)) as container, open(path, "wb") as output:
        output.write(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode())
        for number, frame in enumerate(container.decode(video=0)):
            if number % 3 == 0 and number // 3 < frames:
                planes = frame.reformat(width, height, "yuvj420p").to_ndarray()
                output.write(b"FRAME\n" + planes.tobytes())
    return path
