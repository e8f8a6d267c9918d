"""Estimates the colours of skin and clothes that no camera has seen, with a network that is loaded on demand."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial

import torch

from common.arrays import ByteArray
from common.body.model import BodyModel
from common.errors import WeightsError
from common.io.telemetry import timed
from common.texture.atlas import AtlasLayout, Texture
from common.weights.devices import CPU
from receiver.engine.fair_queue import FairExecutor
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures

Inpaint = Callable[[Texture], ByteArray]
"""Estimates the colours (c, c, 3) of a whole atlas, uint8 RGB, from what is known of it."""

_THREADS = 1


class TextureInpainter:
    """Completes the textures of all sessions beside their frames, in one thread.

    Args:
        load: makes the layout of the atlas and the network, for the first texture; raises WeightsError.
        device: of the network that is loaded by default.
        observe: is called with the milliseconds of each estimate, in the thread that made it.
    """

    def __init__(
        self,
        load: "Callable[[], tuple[AtlasLayout, Inpaint]] | None" = None,
        observe: Callable[[float], None] | None = None,
        device: torch.device = CPU,
    ) -> None:
        self._load = load or partial(_load, device)
        self._observe = observe
        self._loaded: tuple[AtlasLayout, Inpaint] | None = None
        self._executor = FairExecutor(_THREADS, "texture")

    def textures(self, account: Hashable, session: Hashable) -> ReceivedTextures:
        """The textures of a session."""

        def inpaint_later(received: ReceivedTexture) -> "asyncio.Future[ByteArray | None]":
            return asyncio.ensure_future(self._executor.run(account, session, self.estimate, received))

        return ReceivedTextures(inpaint_later)

    async def prepare(self) -> None:
        """Loads the network before the first texture; where it cannot be loaded, that will say so."""
        with suppress(WeightsError):
            await self._executor.run("", "", self._network)

    def _network(self) -> tuple[AtlasLayout, Inpaint]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def estimate(self, received: ReceivedTexture) -> ByteArray | None:
        """(c, c, 3) uint8 RGB: the colours of the whole atlas; None if all texels that show skin are known.

        Raises:
            WeightsError: the weights are missing, damaged or of another version.
        """
        layout, inpaint = self._network()
        texture = received.texture()
        if texture.known.reshape(-1)[layout.texel].all():
            return None
        with timed() as span:
            estimate = inpaint(texture)
        if self._observe is not None:
            self._observe(span.ms)
        return estimate

    def shutdown(self) -> None:
        """Waits for what runs, and ends the thread."""
        self._executor.shutdown()


def _load(device: torch.device) -> tuple[AtlasLayout, Inpaint]:
    # Imported here: a receiver that gets no textures does not need the network.
    from receiver.texture.atlas_completion import AtlasCompletion

    layout = AtlasLayout.from_body(BodyModel.load())
    return layout, AtlasCompletion.load(layout, device).estimate
