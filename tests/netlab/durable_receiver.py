"""A receiver on a disk that forgets, without reconstruction: `python -m tests.netlab.durable_receiver --listen H:P
--out DIR`.

Its link, its pipeline and its books are the receiver's own.  `--bug` makes it break a promise on purpose:

    acknowledge-early    acknowledges a frame before its line is on the disk
    no-deduplication     keeps no account of what it has had
"""

import argparse
import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import LabelFrame
from common.io.addresses import Address
from receiver.engine.reconstruction import ReconstructedPerson
from receiver.link import LinkServer, ListenConfig, Session, SessionRegistry
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_directory import PublishConfig, SessionDirectory
from tests.netlab.durable_sender import MODEL
from tests.netlab.volatile_disk import forget_unsynced

BUGS = ("acknowledge-early", "no-deduplication")


class Tetrahedra:
    """Stands for the networks: everybody is the same small mesh."""

    _MESH = SurfaceMesh(
        np.array([[0, 0, 2], [1, 0, 2], [0, 1, 2], [0, 0, 3]], np.float32),
        np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
    )

    def reconstruct(
        self, frame: LabelFrame, previous: Mapping[int, Any], timings: Any, colours: Mapping[int, Any]
    ) -> list[ReconstructedPerson]:
        """See `Reconstructor.reconstruct`."""
        nowhere = np.zeros((17, 3), np.float32)
        nothing: Any = None
        return [ReconstructedPerson(one, self._MESH, nothing, nothing, nowhere, nowhere) for one in frame.people]


def break_promise(bug: str) -> None:
    """Makes this process the receiver that it must not be."""
    if bug == "acknowledge-early":
        SessionDirectory._sync = lambda *_: None  # type: ignore[method-assign]
        return
    append = SessionDirectory.append

    def append_again(self: SessionDirectory, number: int, *arguments: Any, **options: Any) -> bool:
        self._sessions[number].last_sequence = -1
        return append(self, number, *arguments, **options)

    Session.handled = lambda *_: None  # type: ignore[method-assign]
    SessionDirectory.append = append_again  # type: ignore[method-assign]
    SessionDirectory.last_sequence = lambda *_: -1  # type: ignore[method-assign]


async def serve(listen: Address, out: Path) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with SessionDirectory(PublishConfig(out, mesh_every=50, body=False)) as directory:
        networks: Any = Tetrahedra()
        pipeline = ReceiverPipeline(networks, directory, ReceiverMetrics())
        registry = SessionRegistry(lambda: FrameCodec(MODEL))
        listening = ListenConfig(listen=listen)
        server = LinkServer(listening, pipeline, registry, model_hash=MODEL, codec_version=CODEC_VERSION)
        print(f"listening on {await server.start()}", flush=True)
        await stop.wait()
        await server.stop()
        pipeline.close()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.durable_receiver")
    parser.add_argument("--listen", type=Address.parse, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bug", choices=BUGS)
    options = parser.parse_args()
    if options.bug:
        break_promise(options.bug)
    forget_unsynced(options.out)
    asyncio.run(serve(options.listen, options.out))


if __name__ == "__main__":
    main()
