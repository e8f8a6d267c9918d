"""The network of completions is loaded when a texture needs it, once."""

import numpy as np

from common.arrays import ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import AtlasLayout, Texture
from common.texture.atlas_tiles import TILES, encode
from receiver.texture.inpainting import Inpaint, TextureInpainter
from receiver.texture.received_texture import ReceivedTexture


class FakeNetwork:
    """Estimates the mean of what is known everywhere."""

    def __init__(self, layout: AtlasLayout) -> None:
        self._layout = layout
        self.loaded = self.estimates = 0

    def load(self) -> tuple[AtlasLayout, Inpaint]:
        self.loaded += 1
        return self._layout, self.estimate

    def estimate(self, texture: Texture) -> ByteArray:
        self.estimates += 1
        mean = texture.colours[texture.known].mean(axis=0)
        return np.broadcast_to(np.rint(mean).astype(np.uint8), (128, 128, 3)).copy()


def received(shade: int, known: np.ndarray) -> ReceivedTexture:
    tile = TILES[0]
    return ReceivedTexture().with_tile(tile, encode(tile, np.full((ATLAS_SIZE, ATLAS_SIZE, 3), shade, np.uint8), known))


def half() -> np.ndarray:
    return np.arange(ATLAS_SIZE)[None].repeat(ATLAS_SIZE, axis=0) < ATLAS_SIZE // 2


def test_network_is_loaded_once_and_timed(layout: AtlasLayout) -> None:
    network, spent = FakeNetwork(layout), list[float]()
    inpainter = TextureInpainter(network.load, spent.append)
    assert network.loaded == 0
    for shade in (90, 150):
        completion = inpainter.estimate(received(shade, half()))
        assert completion is not None and np.abs(completion.astype(int) - shade).max() <= 3
    assert network.loaded == 1 and len(spent) == 2


def test_nothing_is_estimated_when_all_skin_is_known(layout: AtlasLayout) -> None:
    network = FakeNetwork(layout)
    everywhere = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    assert TextureInpainter(network.load).estimate(received(90, everywhere)) is None
    assert not network.estimates
