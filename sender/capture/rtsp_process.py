"""Receives a network camera: what `sender.capture.cameras` runs as a process of its own, with little memory.

    python rtsp_process.py < ADDRESS > STREAM

FFmpeg bounds neither redirects nor the description that a camera sends, and no call of it can be ended from outside.
The stream is a line of JSON, what a decoder needs, then packets, each after a `PACKET`; instead of the former, and
behind one of no bytes, a line says `error`. Nothing of Bodywire is imported, which would take longer than to connect.
"""

import contextlib
import errno
import json
import logging
import os
import resource
import struct
import sys
import threading
from fractions import Fraction
from typing import Any, NoReturn

import av
import av.logging

PACKET = struct.Struct("<qI")
"""Before each packet: its presentation time in units of `time_base`, or `NO_TIME`, and its size in bytes."""
NO_TIME = -(2**63)

# For FFmpeg's libraries, and to find out what a camera of 8K sends.
_ADDRESS_SPACE_BYTES = 600_000_000
_MOST_REDIRECTS = 5
_OPTIONS = {
    "rtsp_transport": "tcp",
    "timeout": "5000000",  # of connecting, and of each time that it reads, microseconds
    "fflags": "nobuffer",
    "flags": "low_delay",
    "allowed_media_types": "video",
}


def main() -> None:
    """Writes the stream until it ends, or the parent does."""
    with contextlib.suppress(ValueError):  # macOS has no limit of the address space
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    url = sys.stdin.readline().rstrip("\n")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    av.logging.set_level(av.logging.INFO)
    av.logging.set_skip_repeated(False)
    logging.getLogger("libav").setLevel(logging.INFO)
    logging.getLogger("libav").addHandler(_Redirects())
    try:
        container = av.open(url, options=_OPTIONS, metadata_errors="replace")
    except MemoryError:
        _refuse("it sends more than a camera does")
    except av.FFmpegError as error:
        _refuse(_reason(error))
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
        _refuse("it has no video, or none that can be decoded")
    try:
        _write(container, stream)
    except av.FFmpegError as error:
        sys.stdout.buffer.write(PACKET.pack(NO_TIME, 0))
        _refuse(_reason(error))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


class _Redirects(logging.Handler):
    """Counts redirects, which FFmpeg tells only to its log."""

    left = _MOST_REDIRECTS

    def emit(self, record: logging.LogRecord) -> None:
        self.left -= "Redirecting to" in record.getMessage()
        if self.left < 0:
            _refuse(f"it redirects more than {_MOST_REDIRECTS} times")


def _refuse(reason: str) -> NoReturn:
    _write_line(error=reason)
    os._exit(0)


def _write_line(**facts: Any) -> None:
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n")
    sys.stdout.buffer.flush()


def _write(container: av.container.InputContainer, stream: av.VideoStream) -> None:
    decoder = stream.codec_context
    base = stream.time_base or Fraction(1, 90_000)
    _write_line(
        codec=decoder.name,
        extradata=(decoder.extradata or b"").hex(),
        width=decoder.width,
        height=decoder.height,
        pix_fmt=decoder.pix_fmt or "yuv420p",
        time_base=[base.numerator, base.denominator],
    )
    for packet in container.demux(stream):
        if packet.size:
            sys.stdout.buffer.write(PACKET.pack(NO_TIME if packet.pts is None else packet.pts, packet.size))
            sys.stdout.buffer.write(packet)
            sys.stdout.buffer.flush()


def _reason(error: av.FFmpegError) -> str:
    # FFmpeg's reader has this error for an answer that it does not understand.
    return "its answer makes no sense" if error.errno == errno.EPERM else error.strerror or type(error).__name__


if __name__ == "__main__":
    main()
