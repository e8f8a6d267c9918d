"""A receiver that is watched, on one of two hosts: `python -m tests.netlab.logging_receiver --listen H:P --log FILE`.

Decodes every frame and acknowledges it.  `--log` gets a line for each frame (`shown`) and whenever a sender's stream
ends or falls silent (`left`), each with the time.  A receiver that is started again reads there what the one before it
had shown.
"""

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.io.addresses import Address
from common.wire.convert import FrameMessage
from receiver.link import LinkServer, ListenConfig, Session, SessionRegistry
from receiver.link.auth.security import SecurityConfig
from tests.netlab.logging_sender import MODEL

_LOOK_S = 0.01


class Book:
    """Writes a line a frame.

    Args:
        log: to write to.
        known: session → one after the last frame of it that was shown.
    """

    def __init__(self, log: TextIO, known: Mapping[str, int]) -> None:
        self.logger, self._known = log, known
        self._sessions: dict[str, Session] = {}
        self._here: set[str] = set()

    async def on_session(self, session: Session) -> None:
        name = session.session_id.hex()
        session.next_sequence = max(session.next_sequence, self._known.get(name, 0))
        self._sessions[name] = session

    async def on_frame(self, session: Session, frame: FrameMessage) -> None:
        """Decodes and notes."""
        labels = session.decode(frame).frame
        self._note("shown", session.session_id.hex(), seq=frame.sequence, captured_at=labels.captured_at)

    def on_blob(self, session: Session, blob: Blob) -> None: ...

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None: ...

    async def on_session_end(self, session: Session) -> None:
        self._sessions.pop(session.session_id.hex(), None)

    async def watch(self) -> None:
        """Notes when streams end or fall silent."""
        while True:
            here = {name for name, session in self._sessions.items() if session.held and not session.silent}
            for name in self._here - here:
                self._note("left", name)
            self._here = here
            await asyncio.sleep(_LOOK_S)

    def _note(self, what: str, session: str, **more: Any) -> None:
        self.logger.write(json.dumps({"what": what, "at": time.time(), "session": session, **more}) + "\n")
        self.logger.flush()


async def serve(listen: Address, log: TextIO, known: Mapping[str, int]) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    book = Book(log, known)
    server = LinkServer(
        ListenConfig(listen=listen),
        book,
        SessionRegistry(lambda: FrameCodec(MODEL)),
        model_hash=MODEL,
        codec_version=CODEC_VERSION,
        security=SecurityConfig(insecure=True),
    )
    watching = asyncio.create_task(book.watch())
    print(f"listening on {await server.start()}", flush=True)
    await stop.wait()
    watching.cancel()
    await server.stop()


def already_shown(log: Path) -> dict[str, int]:
    """Session → one after the last frame that a log tells of."""
    known: dict[str, int] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        entry = json.loads(line)
        if entry["what"] == "shown":
            known[entry["session"]] = max(known.get(entry["session"], 0), entry["seq"] + 1)
    return known


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.logging_receiver")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    known = already_shown(options.log)
    with open(options.log, "a", encoding="utf-8") as log:
        asyncio.run(serve(options.listen, log, known))


if __name__ == "__main__":
    main()
