"""Reads how long and how large one clip is: what `receiver.web.library.clip_check` runs as a process of its own.

    python -m receiver.web.library.probe_process FORMAT PATH

A demuxer or decoder in C that is led astray ends this process, not the receiver, and gets no more memory and time than
it needs.
"""

import contextlib
import json
import os
import resource
import sys

import av

_ADDRESS_SPACE_BYTES, _CPU_S, _NICE = 3_000_000_000, 30, 10
# A file may name others: none is opened.
_OPTIONS = {"protocol_whitelist": "file"}


def main(container_format: str, path: str) -> None:
    """Writes the facts as a JSON object. Raises whatever FFmpeg's binding raises for damaged files."""
    os.nice(_NICE)
    for limit, most in ((resource.RLIMIT_AS, _ADDRESS_SPACE_BYTES), (resource.RLIMIT_CPU, _CPU_S)):
        with contextlib.suppress(ValueError):  # macOS has no limit of the address space
            resource.setrlimit(limit, (most, most))
    print(json.dumps(facts(container_format, path)))


def facts(container_format: str, path: str) -> dict[str, float]:
    """Width, height, number of frames, number that the header promises (0: none), and seconds, counted in packets."""
    with av.open(f"file:{path}", format=container_format, options=_OPTIONS, metadata_errors="replace") as container:
        if not container.streams.video:
            return {"frames": 0}
        stream = container.streams.video[0]
        first = next(container.decode(stream))
        container.seek(0)
        times = [float(p.pts * p.time_base) for p in container.demux(stream) if p.size and p.pts is not None]
        seconds = max(times) - min(times) if times else 0.0
        return {
            "width": first.width,
            "height": first.height,
            "frames": len(times),
            "promised": stream.frames,
            "seconds": seconds,
        }


if __name__ == "__main__":
    main(*sys.argv[1:])
