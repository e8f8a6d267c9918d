"""Decodes one upload: what `receiver.web.uploads.decoder` runs as a process of its own.

    python -m receiver.web.uploads.decoder_process picture < PICTURE
    python -m receiver.web.uploads.decoder_process clip PATH

It writes a line of JSON, the facts or `{"refused": [status, detail]}`, and behind it the decoded pictures.
"""

import contextlib
import json
import os
import resource
import sys

from receiver.web.places import Refused

# For a picture of 50 million pixels; seconds of the processor.
_ADDRESS_SPACE_BYTES, _CPU_S = 3_000_000_000, 30
_NICE = 10


def main(kind: str, *arguments: str) -> None:
    """Raises whatever decoders raise."""
    os.nice(_NICE)
    for limit, most in ((resource.RLIMIT_AS, _ADDRESS_SPACE_BYTES), (resource.RLIMIT_CPU, _CPU_S)):
        with contextlib.suppress(ValueError):  # macOS has no limit of the address space
            # Where both limits are one, the kernel ends the process without saying which.
            resource.setrlimit(limit, (most, most + 1))
    content = b""
    try:
        if kind == "picture":
            # Imported here: each kind loads its own decoders only.
            from receiver.web.uploads.decoding import read_picture

            facts, content = read_picture(sys.stdin.buffer.read())
        else:
            from receiver.web.uploads.decoding import read_clip

            facts = read_clip(*arguments)
        head = json.dumps(facts)
    except Refused as error:
        head = json.dumps({"refused": [error.status, error.detail]})
    sys.stdout.buffer.write(head.encode() + b"\n" + content)


if __name__ == "__main__":
    main(*sys.argv[1:])
