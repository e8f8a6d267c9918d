"""The demo clip in other forms: longer, for tests that watch for a while, and as the picture of a fake camera."""

from pathlib import Path

import av

from sender.capture.open import DEMO_CLIP


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


def fake_camera(path: Path, frames: int = 60, width: int = 640, height: int = 360) -> Path:
    """Every third frame of the demo clip as YUV4MPEG2, which Chromium plays as its camera again and again."""
    with av.open(str(DEMO_CLIP)) as container, open(path, "wb") as output:
        output.write(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode())
        for number, frame in enumerate(container.decode(video=0)):
            if number % 3 == 0 and number // 3 < frames:
                planes = frame.reformat(width, height, "yuvj420p").to_ndarray()
                output.write(b"FRAME\n" + planes.tobytes())
    return path
