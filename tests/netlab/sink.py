"""A receiver without reconstruction, for one of two hosts: `python -m tests.netlab.sink --listen H:P --log FILE`.

Decodes every frame, holds it for `--hold-ms`, logs when it was captured and when it could be displayed, acknowledges
it.  Logs blobs too, with their kind.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from common.blobs import Blob
from common.io.addresses import Address
from common.wire.convert import FrameMessage
from receiver.link.config import SecurityConfig
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.session import Session
from tests.netlab.programs import FramesOnly, serve


class LoggingPipeline(FramesOnly):
    """Writes one line per frame and per blob."""

    def __init__(self, log: TextIO, hold_s: float) -> None:
        super().__init__()
        self._log, self._hold_s = log, hold_s

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes, holds and logs a frame."""
        labels = self.decode(session, frame)
        if self._hold_s:
            await asyncio.sleep(self._hold_s)
        line = {"seq": frame.sequence, "captured_at": labels.captured_at, "shown_at": time.time()}
        self._write(line | {"bytes": len(frame.payload)})
        return FrameOutcome.PUBLISHED

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Logs a blob."""
        self._write({"kind": blob.kind, "bytes": len(blob.data)})

    def _write(self, line: Mapping[str, float | str]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.sink")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--hold-ms", type=float, default=0.0)
    parser.add_argument("--tls-cert", type=Path, help="serve encrypted, with this certificate and --tls-key")
    parser.add_argument("--tls-key", type=Path)
    options = parser.parse_args()
    security = SecurityConfig(insecure=True)
    if options.tls_cert is not None:
        security = SecurityConfig(tls_cert=options.tls_cert, tls_key=options.tls_key)
    with open(options.log, "a", encoding="utf-8") as log:
        asyncio.run(serve(options.listen, LoggingPipeline(log, options.hold_ms / 1e3), security))


if __name__ == "__main__":
    main()
