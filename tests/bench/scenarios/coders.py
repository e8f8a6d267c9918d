"""Codes of pictures as symbols, and of meshes."""

import importlib
import zlib
from fractions import Fraction
from functools import cache
from typing import Final

import numpy as np
import torch

from common.arrays import Image
from common.channel import image_codec
from common.channel.channel import SignalBlob, carry
from common.channel.state import ChannelState
from common.errors import UsageError
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.bench.rivals.coders import Coder

AIR: Final = ChannelState(10)
SYMBOL_BYTES: Final = 4
"""A symbol is sent as two numbers of 16 bits."""
_DRACO_LEVEL = 7


class Symbols(Coder):
    """Pictures as symbols of the image channel, whose noise the receiver's end adds.

    A message has as many bytes as the symbols and, at capacity, the side information take.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate, self._network = rate, _image_channel()
        self._noise = torch.Generator().manual_seed(0)

    def encode(self, content: Image) -> bytes:
        signal = image_codec.encode(self._network, content, AIR, self._rate)
        data = zlib.compress(SignalBlob(0, 0.0, (0, 0, 0), AIR, signal).encode())
        return data.ljust(SYMBOL_BYTES * signal.uses, b"\0")

    def decode(self, data: bytes) -> Image:
        # What follows the compressed stream is padding.
        signal = SignalBlob.decode(zlib.decompressobj().decompress(data)).signal
        return image_codec.decode(self._network, signal, carry(AIR, signal.symbols, self._noise))


_image_channel = cache(image_codec.load_network)


class Draco(Coder):
    """Meshes, each with its triangles, as Draco's edgebreaker codes them."""

    def __init__(self, bits: int) -> None:
        try:
            self._bits, self._draco = bits, importlib.import_module("DracoPy")
        except ImportError as error:
            raise UsageError("meshes of rivals need Draco: pip install 'bodywire[bench]'") from error

    def encode(self, content: SurfaceMesh) -> bytes:
        options = {"quantization_bits": self._bits, "compression_level": _DRACO_LEVEL}
        data: bytes = self._draco.encode(content.vertices, content.faces, **options)
        return data

    def decode(self, data: bytes) -> SurfaceMesh:
        mesh = self._draco.decode(data)
        return SurfaceMesh(np.asarray(mesh.points, np.float32), np.asarray(mesh.faces, np.int32))
