"""A receiver that counts the frames of many senders.

`python -m tests.netlab.counting_receiver --listen H:P --log FILE`

Decodes every frame (not with `--pass-through`) and acknowledges it.  `--log` gets one line of JSON per second: frames
so far, memory, processor time.  On SIGTERM it prints the totals as one line of JSON and ends.
"""

import argparse
import asyncio
import json
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from common.io.addresses import Address
from common.wire.convert import FrameMessage
from receiver.link.config import SecurityConfig
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.session import Session
from tests.netlab.programs import FramesOnly, serve

_CAPACITY = 512


class CountingPipeline(FramesOnly):
    """Counts the frames of all sessions together.

    Args:
        decode: whether to decode them.
    """

    def __init__(self, decode: bool) -> None:
        self._decode = decode
        self._next: dict[bytes, int] = {}
        self.frames = self.missing = self.again = self.broken = 0

    async def on_session(self, session: Session) -> None:
        self._next[session.session_id] = 0

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes and counts a frame."""
        if self._decode:
            session.decode(frame)
        expected = self._next[session.session_id]
        self.frames += 1
        self.again += frame.sequence < expected
        self.missing += max(frame.sequence - expected, 0)
        self._next[session.session_id] = max(frame.sequence + 1, expected)
        return FrameOutcome.PUBLISHED

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        self.broken += frame is None

    async def report(self, log: TextIO) -> None:
        """Writes one line per second."""
        while True:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            line = {"at": time.time(), "frames": self.frames, "rss_kb": resident_kb(), "cpu_s": _cpu_s(usage)}
            log.write(json.dumps(line) + "\n")
            log.flush()
            await asyncio.sleep(1.0)


def _cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def resident_kb() -> int:
    """Resident memory of this process, kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def run(listen: Address, log: TextIO, decode: bool, security: SecurityConfig) -> None:
    counts = CountingPipeline(decode)
    await serve(listen, counts, security, beside=counts.report(log))
    totals = {name: getattr(counts, name) for name in ("frames", "missing", "again", "broken")}
    print(json.dumps(totals), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.counting_receiver")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--pass-through", action="store_true", help="do not decode the frames")
    parser.add_argument(
        "--certificates", type=Path, metavar="DIR", help="mutual TLS: ca.pem, receiver.pem, receiver.key"
    )
    options = parser.parse_args()
    security = SecurityConfig(max_sessions=_CAPACITY, peer_sessions=_CAPACITY)
    if options.certificates is not None:
        names = {"tls_ca": "ca.pem", "tls_cert": "receiver.pem", "tls_key": "receiver.key"}
        security = replace(security, **{name: options.certificates / file for name, file in names.items()})
    with open(options.log, "w", encoding="utf-8") as log:
        asyncio.run(run(options.listen, log, not options.pass_through, security))


if __name__ == "__main__":
    main()
