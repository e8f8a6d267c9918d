"""Estimates the colours of skin and clothes that no camera has seen, with a network that is loaded on demand.

Textures of all sessions are completed in one thread, which sessions share fairly.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable

from common.arrays import ByteArray
from common.body.model import BodyModel
from common.errors import WeightsError
from common.io.telemetry import timed
from common.texture.atlas import AtlasLayout, Texture
from receiver.engine.fair_queue import FairExecutor
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures

Inpaint = Callable[[Texture], ByteArray]
"""Estimates the colours (c, c, 3) of a whole atlas, uint8 RGB, from what is known of it; threads may share it."""

_THREADS = 1


class TextureInpainter:
    """Inpaints textures in the threads of its callers; all of them share one network, which the first one loads.

    Args:
        load: makes the layout of the atlas and the network; raises WeightsError.
        observe: is called with the milliseconds of each estimate, in the thread that made it.
    """

    def __init__(
        self,
        load: "Callable[[], tuple[AtlasLayout, Inpaint]] | None" = None,
        observe: Callable[[float], None] | None = None,
    ) -> None:
        self._make = load or _load
        self._observe = observe
        self._loaded: tuple[AtlasLayout, Inpaint] | None = None
        self._failure: str | None = None
        self._loading = threading.Lock()

    def estimate(self, received: ReceivedTexture) -> ByteArray | None:
        """(c, c, 3) uint8 RGB: the colours of the whole atlas; None if all texels that show skin are known.

        Raises:
            WeightsError: the weights are missing, damaged or of another version; they are looked for once only.
        """
        layout, inpaint = self.load()
        texture = received.texture()
        if texture.known.reshape(-1)[layout.texel].all():
            return None
        with timed() as span:
            estimate = inpaint(texture)
        if self._observe is not None:
            self._observe(span.ms)
        return estimate

    def load(self) -> tuple[AtlasLayout, Inpaint]:
        """The layout and the network, loaded by the first call; raises WeightsError as `estimate` does."""
        with self._loading:
            if self._failure is not None:
                raise WeightsError(self._failure)
            if self._loaded is None:
                try:
                    self._loaded = self._make()
                except WeightsError as error:
                    self._failure = str(error)
                    raise
            return self._loaded


def _load() -> tuple[AtlasLayout, Inpaint]:
    # Imported here: a receiver that gets no textures does not need the network.
    from receiver.texture.atlas_completion import AtlasCompletion

    layout = AtlasLayout.from_body(BodyModel.load())
    return layout, AtlasCompletion.load(layout).estimate


class TextureThreads:
    """Completes textures beside the frames; without an inpainter, they are filled from the surroundings."""

    def __init__(self, inpainter: TextureInpainter | None = None) -> None:
        self._executor = FairExecutor(_THREADS, "texture")
        self._inpainter = inpainter
        self._loading: asyncio.Future[None] | None = None

    def textures(self, account: Hashable, session: Hashable) -> ReceivedTextures:
        """The textures of a session that begins; the network is loaded now, for which the first one would wait."""
        inpainter = self._inpainter
        if inpainter is None:
            return ReceivedTextures()
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._executor.run(account, session, _load_early, inpainter))

        def inpaint_later(received: ReceivedTexture) -> "asyncio.Future[ByteArray | None]":
            return asyncio.ensure_future(self._executor.run(account, session, inpainter.estimate, received))

        return ReceivedTextures(inpaint_later)

    def shutdown(self) -> None:
        """Waits for what runs, and ends the thread."""
        self._executor.shutdown()


def _load_early(inpainter: TextureInpainter) -> None:
    # What is missing is told where it is needed.
    with contextlib.suppress(WeightsError):
        inpainter.load()
