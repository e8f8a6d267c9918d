"""Reads how long and how large an uploaded clip is, in the process of `decoder_process`."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.container import InputContainer

from receiver.web.refused import Refused
from receiver.web.uploads.limits import MAX_CLIP_S, MAX_FPS, MAX_PIXELS, check_size

_HEAD_BYTES = 12
# From one frame to the next; a time that is further off, or behind, is damaged or begins again.
_MOST_STEP_S = 5.0
_DAMAGED = "the clip is damaged or incomplete: export it again"
# FFmpeg's names of the containers, and what files of each are called.
_SUFFIXES = {"mov": ".mp4", "matroska": ".mkv"}
# A file may name others: none is opened.
_OPTIONS = {"protocol_whitelist": "file"}


def read_clip(path: str) -> dict[str, Any]:
    """The facts of a `CheckedClip`.

    Raises:
        Refused: it is no clip (415), too large or too long (413), or cannot be used (422).
    """
    container_format = _format(Path(path))
    try:
        width, height, frames, seconds = _measured(path, container_format)
    except Refused:
        raise
    # FFmpeg's readers raise almost any exception for damaged files with a valid head.
    except Exception as error:
        raise Refused(422, _DAMAGED) from error
    if not frames:
        raise Refused(422, "the file has no video that can be decoded: export it again")
    check_size("clip", width, height)
    if seconds > MAX_CLIP_S:
        most = f"at most {MAX_CLIP_S:g} s are accepted"
        raise Refused(413, f"the clip is {seconds:.0f} s long, {most}: cut it")
    if frames > MAX_FPS * (seconds + 1):
        raise Refused(413, f"the clip has more than {MAX_FPS} frames a second: export it with fewer")
    return {"suffix": _SUFFIXES[container_format], "frames": frames}


def _format(path: Path) -> str:
    """The container, by the file's first bytes: no other of FFmpeg's formats is tried."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    raise Refused(415, "this is no clip: send MP4, MOV, WebM or Matroska")


def _measured(path: str, container_format: str) -> tuple[int, int, int, float]:
    """Width, height, number of frames, and seconds, counted in packets; what is damaged or cut has fewer."""
    with av.open(f"file:{path}", format=container_format, options=_OPTIONS, metadata_errors="replace") as container:
        first = _first_frame(container) if container.streams.video else None
        if first is None:
            return 0, 0, 0, 0.0
        container.seek(0)
        times = list[float]()
        with suppress(av.FFmpegError):  # it is cut there; the sender says when
            for packet in container.demux(container.streams.video[0]):
                at = packet.pts if packet.dts is None else packet.dts
                if packet.size and at is not None:
                    times.append(float(at * packet.time_base))
        steps = (later - earlier for earlier, later in pairwise(times))
        return first.width, first.height, len(times), sum(min(max(step, 0.0), _MOST_STEP_S) for step in steps)


def _first_frame(container: InputContainer) -> av.VideoFrame | None:
    """The first frame that shows something, as the sender decodes it. Raises FFmpegError where no more can be read."""
    decoder = container.streams.video[0].codec_context
    if decoder is None:
        raise Refused(422, "the clip is coded in a format that cannot be decoded: convert it, for example to H.264")
    decoder.flags |= Flags.output_corrupt
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    for packet in container.demux(container.streams.video[0]):
        with suppress(av.FFmpegError):
            for frame in packet.decode():
                return frame
    return None
