"""A receiver that logs events, for one of two hosts: `python -m tests.netlab.logging_receiver --listen H:P --log FILE`.

Decodes every frame and acknowledges it.  `--log` gets one line, with the time, for each frame (`shown`) and for each
sender whose stream ends or falls silent (`left`).  A restarted receiver reads there which frames it has shown before.
While the file of `--full-while` exists, frames cannot be written.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from common.clock import SYSTEM_CLOCK
from common.errors import OutputError
from common.io.addresses import Address
from common.wire.convert import FrameMessage
from receiver.link.config import SecurityConfig
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.session import Session
from receiver.publish.output_files import OutputGuard
from tests.netlab.programs import FramesOnly, serve

_POLL_S = 0.01
# As soon as a sender without heartbeats counts as gone.
_SILENCE_S = 1.25


class LoggingPipeline(FramesOnly):
    """Writes one line per event.

    Args:
        shown: session → one after its last frame shown before.
        full_while: the disk is full while this file exists; None if it never is.
    """

    def __init__(self, log: TextIO, shown: Mapping[str, int], full_while: Path | None) -> None:
        super().__init__()
        self._log, self._shown, self._full_while = log, shown, full_while
        self._output = OutputGuard(SYSTEM_CLOCK)
        self._sessions: dict[str, Session] = {}
        self._present: set[str] = set()

    async def on_session(self, session: Session) -> int:
        name = session.session_id.hex()
        self._sessions[name] = session
        return self._shown.get(name, 0)

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes and logs a frame."""
        self._output.check()
        with self._output.attempt():
            if self._full_while is not None and self._full_while.exists():
                raise OutputError("the disk is full")
        labels = self.decode(session, frame)
        self._write("shown", session.session_id.hex(), seq=frame.sequence, captured_at=labels.captured_at)
        return FrameOutcome.PUBLISHED

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
    parser.add_argument("--full-while", type=Path, help="frames cannot be written while this file exists")
    options = parser.parse_args()
    shown = already_shown(options.log)
    with open(options.log, "a", encoding="utf-8") as log:
        pipeline = LoggingPipeline(log, shown, options.full_while)
        asyncio.run(serve(options.listen, pipeline, SecurityConfig(insecure=True), beside=pipeline.watch()))


if __name__ == "__main__":
    main()
