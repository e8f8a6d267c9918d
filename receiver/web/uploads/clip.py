"""Reads how long and how large an uploaded clip is, in the process of `decoder_process`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from receiver.web.refused import Refused
from receiver.web.uploads.limits import MAX_CLIP_S, MAX_FPS, check_size

_HEAD_BYTES = 12
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
    except (av.FFmpegError, ValueError) as error:
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
                if packet.size and packet.pts is not None:
                    times.append(float(packet.pts * packet.time_base))
        return first.width, first.height, len(times), max(times) - min(times) if times else 0.0


def _first_frame(container: InputContainer) -> av.VideoFrame | None:
    """The first frame that can be decoded. Raises FFmpegError at the end of what can be read."""
    for packet in container.demux(container.streams.video[0]):
        with suppress(av.FFmpegError):
            for frame in packet.decode():
                return frame
    return None
