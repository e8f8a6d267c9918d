"""A receiver that logs events, for one of two hosts: `python -m tests.netlab.logging_receiver --listen H:P --log FILE`.

Decodes every frame, holds it for `--hold-ms`, and acknowledges it.  `--log` gets one line, with the time, for each
frame (`shown`), each blob (`blob`), and each sender whose stream ends or falls silent (`left`).  A restarted receiver
reads there which frames it has shown before.  While the file of `--full-while` exists, frames cannot be written.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from common.blobs import Blob
from common.clock import SYSTEM_CLOCK
from common.codec.frame_codec import FrameCodec
from common.errors import OutputError
from common.io.addresses import Address
from common.labels import concatenate
from common.wire.convert import FrameMessage
from receiver.config import SecurityConfig
from receiver.link.session import Arrival, FrameOutcome, Session
from receiver.publish.files import OutputGuard
from tests.netlab.programs import MODEL, serve

_POLL_S = 0.01
# As soon as a sender without heartbeats counts as gone.
_SILENCE_S = 1.25


class LoggingPipeline:
    """Writes one line per event.

    Args:
        shown: session → one after its last frame shown before.
        full_while: the disk is full while this file exists; None if it never is.
        hold_s: from a decoded frame to its acknowledgement.
        with_labels: lines of frames have the labels of the first person, their mean ρ, and the message's number.
    """

    def __init__(
        self, log: TextIO, shown: Mapping[str, int], full_while: Path | None, hold_s: float, with_labels: bool = False
    ) -> None:
        self._with_labels = with_labels
        self._log, self._shown, self._full_while, self._hold_s = log, shown, full_while, hold_s
        self._output = OutputGuard(SYSTEM_CLOCK)
        self._sessions: dict[str, Session] = {}
        self._decoders: dict[bytes, FrameCodec] = {}
        self._present: set[str] = set()

    async def on_session(self, session: Session) -> int:
        name = session.session_id.hex()
        self._sessions[name] = session
        return self._shown.get(name, 0)

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes, holds and logs a frame."""
        self._output.check()
        with self._output.attempt():
            if self._full_while is not None and self._full_while.exists():
                raise OutputError("the disk is full")
        decoder = self._decoders.setdefault(session.session_id, FrameCodec(MODEL))
        packet = decoder.decode_bundle(frame.payload, frame.sequences)
        if self._hold_s:
            await asyncio.sleep(self._hold_s)
        for decoded in packet:
            labels, more = decoded.frame, dict[str, Any]()
            if self._with_labels:
                more["labels"] = concatenate(labels.people[0].labels).tolist()
                more["ahead_steps"] = labels.ahead_steps
                more |= {"rho": fmean(decoded.rho.values() or (0.0,)), "message": frame.sequence}
            more |= {"captured_at": labels.captured_at, "bytes": sum(decoded.bytes_by_group.values())}
            self._write("shown", session.session_id.hex(), seq=labels.sequence, **more)
        return FrameOutcome.PUBLISHED

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Logs a blob."""
        self._write("blob", session.session_id.hex(), bytes=len(blob.data))

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None: ...

    def on_stream_end(self, session: Session) -> None: ...

    async def on_session_end(self, session: Session) -> None:
        self._sessions.pop(session.session_id.hex(), None)

    async def watch(self) -> None:
        """Logs when streams end or fall silent."""
        while True:
            present = {name for name, session in self._sessions.items() if session.in_use and not _is_silent(session)}
            for name in self._present - present:
                self._write("left", name)
            self._present = present
            await asyncio.sleep(_POLL_S)

    def _write(self, what: str, session: str, **more: Any) -> None:
        self._log.write(json.dumps({"what": what, "at": time.time(), "session": session, **more}) + "\n")
        self._log.flush()


def _is_silent(session: Session) -> bool:
    return SYSTEM_CLOCK.monotonic() - session.last_message_s > _SILENCE_S


def already_shown(log: Path) -> dict[str, int]:
    """Session → one after its last frame in a log."""
    shown: dict[str, int] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        entry = json.loads(line)
        if entry["what"] == "shown":
            shown[entry["session"]] = max(shown.get(entry["session"], 0), entry["seq"] + 1)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.logging_receiver")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--hold-ms", type=float, default=0.0)
    parser.add_argument("--with-labels", action="store_true", help="log the labels of the first person")
    parser.add_argument("--tls-cert", type=Path, help="serve encrypted, with this certificate and --tls-key")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--full-while", type=Path, help="frames cannot be written while this file exists")
    parser.add_argument("--quic", action="store_true", help="take senders over QUIC too")
    options = parser.parse_args()
    shown = already_shown(options.log)
    security = SecurityConfig(options.tls_cert is None, tls_cert=options.tls_cert, tls_key=options.tls_key)
    with open(options.log, "a", encoding="utf-8") as log:
        pipeline = LoggingPipeline(log, shown, options.full_while, options.hold_ms / 1e3, options.with_labels)
        asyncio.run(serve(options.listen, pipeline, security, beside=pipeline.watch(), quic=options.quic))


if __name__ == "__main__":
    main()
