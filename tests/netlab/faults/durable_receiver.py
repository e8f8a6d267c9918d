"""A receiver on a faulty disk (`tests.netlab.faults.volatile_disk`), without reconstruction.

`python -m tests.netlab.faults.durable_receiver --listen H:P --out DIR --journal DIR`

Link, pipeline, recorder and session directory are the receiver's own; beside them, a session that nobody needs is begun
and deleted again and again.  `--bug` breaks a guarantee on purpose:

    acknowledge-early    acknowledges a frame before its line is on the disk
    no-deduplication     does not remember which frames it has received
    torn-lines           goes on behind what was left of a line
"""

import argparse
import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.codec.packet import CODEC_VERSION
from common.errors import OutputError
from common.io.addresses import Address
from receiver import pipeline
from receiver.config import PublishConfig, RecordConfig, SecurityConfig
from receiver.link.refusals import SessionOwner
from receiver.link.session import Session
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.metrics import ReceiverMetrics
from receiver.motion.session_motion import SessionMotion
from receiver.publish import session_directory
from receiver.publish.files import LineFile
from receiver.publish.session_directory import SessionDirectory
from receiver.recorder import FileRecorder
from tests.netlab.faults import volatile_disk
from tests.netlab.programs import MODEL, serve
from tests.support.receiver.fake_reconstructor import FakeEngine

BUGS = ("acknowledge-early", "no-deduplication", "torn-lines")
# Small, so that whatever happens from time to time happens between two kills.
_MESH_EVERY, _INDEX_EVERY_BYTES, _DELETE_EVERY_S = 6, 4096, 0.2
# About the size of a person's surface.
_VERTICES = 7000


def introduce_bug(bug: str) -> None:
    """Introduces one of `BUGS` into this process."""
    if bug == "acknowledge-early":
        append_line = LineFile.append
        LineFile.append = lambda *arguments, **_: append_line(*arguments, synced=False)  # type: ignore[method-assign]
        return
    if bug == "torn-lines":
        LineFile._cut_torn_line = lambda self: os.fstat(self._descriptor).st_size  # type: ignore[method-assign]
        return
    append = SessionDirectory.append

    def append_again(self: SessionDirectory, number: int, *arguments: Any, **options: Any) -> bool:
        self._sessions[number].last_sequence = -1
        return append(self, number, *arguments, **options)

    Session.handled = lambda *_: None  # type: ignore[method-assign]
    SessionDirectory.append = append_again  # type: ignore[method-assign]
    SessionDirectory.last_sequence = lambda *_: -1  # type: ignore[method-assign]


class NoMotion(SessionMotion):
    """Leaves labels as they are, and loads no networks."""

    def __init__(self) -> None: ...

    def process(self, decoded: DecodedFrame) -> DecodedFrame:
        """See `SessionMotion.process`."""
        return decoded


def stub_mesh() -> SurfaceMesh:
    """A mesh of a person's size."""
    random = np.random.default_rng(0)
    vertices = random.normal(size=(_VERTICES, 3)).astype(np.float32)
    return SurfaceMesh(vertices, random.integers(_VERTICES, size=(2 * _VERTICES, 3)).astype(np.int32))


async def delete_sessions(directory: SessionDirectory) -> None:
    """Begins and deletes sessions."""
    while True:
        await asyncio.sleep(_DELETE_EVERY_S)
        with suppress(OutputError):
            await asyncio.to_thread(_begin_and_delete, directory)


def _begin_and_delete(directory: SessionDirectory) -> None:
    writer = directory.session(secrets.token_hex(16), SessionOwner.from_secret("", b""))
    writer.close()
    directory.usage.settled(writer.number)
    directory.delete([writer.number])


async def run(options: argparse.Namespace) -> None:
    config = PublishConfig(options.out, mesh_every=_MESH_EVERY, meshes="surfaces")
    recorder = FileRecorder(RecordConfig(options.out / "recorded"), codec=CODEC_VERSION, model=MODEL.hex(), version="0")
    insecure = SecurityConfig(options.tls_cert is None, tls_cert=options.tls_cert, tls_key=options.tls_key)
    with SessionDirectory(config) as directory:
        engine = FakeEngine(stub_mesh())
        receiving = pipeline.ReceiverPipeline(
            engine,
            directory,
            ReceiverMetrics(),
            new_decoder=lambda: FrameCodec(MODEL),
            observers=(recorder,),
            new_motion=NoMotion,
        )
        await serve(
            options.listen,
            receiving,
            insecure,
            beside=delete_sessions(directory),
            quic=options.tls_cert is not None,
        )
        await receiving.close()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.faults.durable_receiver")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bug", choices=BUGS)
    parser.add_argument("--tls-cert", type=Path, help="serve encrypted, also over QUIC, with this and --tls-key")
    parser.add_argument("--tls-key", type=Path)
    volatile_disk.add_flags(parser)
    options = parser.parse_args()
    if options.bug:
        introduce_bug(options.bug)
    session_directory._INDEX_EVERY_BYTES, session_directory._FRAME_BYTES_PER_INDEX_BYTE = _INDEX_EVERY_BYTES, 1
    (options.out / "recorded").mkdir(parents=True, exist_ok=True)
    volatile_disk.install(options, options.out)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
