"""Where textures of all sessions are decoded and completed: a thread that sessions share fairly."""

import asyncio
from collections.abc import Hashable

from common.arrays import ByteArray
from common.texture.atlas_tiles import DecodedTile, Tile, decode
from receiver.engine.fair_queue import FairExecutor
from receiver.texture.inpainting import TextureInpainter
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures

_THREADS = 1


class TextureThreads:
    """Decodes tiles and completes textures beside the frames.

    Args:
        inpainter: estimates what no camera has seen; without it, that is filled from the surroundings.
    """

    def __init__(self, inpainter: TextureInpainter | None = None) -> None:
        self.executor = FairExecutor(_THREADS, "texture")
        self._inpainter = inpainter

    def textures(self, account: Hashable, session: Hashable) -> ReceivedTextures:
        """The textures of a session that begins."""

        def decode_later(tile: Tile, data: bytes) -> "asyncio.Future[DecodedTile]":
            return asyncio.ensure_future(self.executor.run(account, session, decode, tile, data))

        inpainter = self._inpainter
        if inpainter is None:
            return ReceivedTextures(decode_later)

        def inpaint_later(received: ReceivedTexture) -> "asyncio.Future[ByteArray | None]":
            return asyncio.ensure_future(self.executor.run(account, session, inpainter.estimate, received))

        return ReceivedTextures(decode_later, inpaint_later)

    def shutdown(self) -> None:
        """Waits for what runs, and ends the thread."""
        self.executor.shutdown()
