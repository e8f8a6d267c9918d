"""A receiver on a volatile disk, without reconstruction.

`python -m tests.netlab.durable_receiver --listen H:P --out DIR [--share-sessions]`

Link, pipeline and session directory are the receiver's own.  `--bug` breaks a guarantee on purpose:

    acknowledge-early    acknowledges a frame before its line is on the disk
    no-deduplication     does not remember which frames it has received
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from common.codec.frame_codec import FrameCodec
from common.io.addresses import Address
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.line_file import LineFile
from receiver.publish.session_directory import SessionDirectory
from tests.netlab.programs import MODEL, serve
from tests.netlab.volatile_disk import forget_unsynced
from tests.support.fake_reconstructor import FakeEngine

BUGS = ("acknowledge-early", "no-deduplication")


def introduce_bug(bug: str) -> None:
    """Introduces one of `BUGS` into this process."""
    if bug == "acknowledge-early":
        append_line = LineFile.append
        LineFile.append = lambda *arguments, **_: append_line(*arguments, synced=False)  # type: ignore[method-assign]
        return
    append = SessionDirectory.append

    def append_again(self: SessionDirectory, number: int, *arguments: Any, **options: Any) -> bool:
        self._sessions[number].last_sequence = -1
        return append(self, number, *arguments, **options)

    Session.handled = lambda *_: None  # type: ignore[method-assign]
    SessionDirectory.append = append_again  # type: ignore[method-assign]
    SessionDirectory.last_sequence = lambda *_: -1  # type: ignore[method-assign]


async def run(listen: Address, out: Path, share_sessions: bool) -> None:
    settings = PublishConfig(out, mesh_every=50, body=False, share_sessions=share_sessions)
    with SessionDirectory(settings) as directory:
        pipeline = ReceiverPipeline(FakeEngine(), directory, ReceiverMetrics(), new_decoder=lambda: FrameCodec(MODEL))
        await serve(listen, pipeline, on_use=None if directory.shared is None else directory.shared.use)
        await pipeline.close()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.durable_receiver")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share-sessions", action="store_true")
    parser.add_argument("--bug", choices=BUGS)
    options = parser.parse_args()
    if options.bug:
        introduce_bug(options.bug)
    forget_unsynced(options.out)
    asyncio.run(run(options.listen, options.out, options.share_sessions))


if __name__ == "__main__":
    main()
