"""The picture codec: RGB pictures to short byte strings and back.

Layout of a stream: the quality, one byte; a check of two bytes; hyper latents, then latents, range-coded.  The size of
the picture and the weights of the codec are known to both ends.  The check covers the symbols and the weights, so a
stream that was made with others, or damaged, is refused.
"""

import struct
import zlib

import numpy as np
import torch
from torch import Tensor

from common.arrays import Image, IntArray
from common.codec.range_coder import SymbolCoder, SymbolReader, SymbolWriter
from common.errors import MalformedPacket
from common.imaging.grid import hyper_grid, latent_grid
from common.imaging.transforms import as_image, padded
from common.picture_codec.network import MAX_QUALITY, SCALES, PictureCodecNetwork, Prediction
from common.picture_codec.tables import PictureTables, low_bits
from common.weights.devices import fast_autocast

MAX_SIDE_PX = 512
_HEADER = struct.Struct(">BH")
# A latent of the smallest scale is its mean but for one in a million.
_FIRST_CODED_SCALE = 1
_MAX_HYPER_LATENT = 127
_MAX_RESIDUAL = 1 << 14


class PictureCodec:
    """Encodes and decodes pictures on the CPU.

    Args:
        network: trained, its hyper synthesis in float64.
        digest: of the weights.
    """

    def __init__(self, network: PictureCodecNetwork, tables: PictureTables, digest: bytes) -> None:
        self._network = network.eval()
        self._tables = tables
        self.digest = digest
        self._seed = zlib.crc32(digest)

    @torch.inference_mode()
    def encode(self, picture: Image, quality: int) -> bytes:
        """The stream of a picture (H, W, 3) of 8 bits, with at most `MAX_SIDE_PX` a side.

        Args:
            picture: RGB.
            quality: 0…100.

        Raises:
            ValueError: the picture is too large, or there is no such quality.
        """
        height, width = picture.shape[:2]
        _check_size(height, width)
        if not 0 <= quality <= MAX_QUALITY:
            raise ValueError(f"quality {quality} is not in 0…{MAX_QUALITY}")
        with fast_autocast():
            y, z = self._network.latents(padded(picture).contiguous(memory_format=torch.channels_last), _share(quality))
        hyper = z[0].round().clamp(-_MAX_HYPER_LATENT, _MAX_HYPER_LATENT).long().numpy()
        prediction = self._prediction(hyper, (y.shape[2], y.shape[3]))
        residuals = (y[0].double() - prediction.mean[0]).round().clamp(-_MAX_RESIDUAL, _MAX_RESIDUAL).long().numpy()
        scales = prediction.scale_index[0].numpy()
        residuals[scales < _FIRST_CODED_SCALE] = 0
        writer = SymbolWriter(self._tables)
        self._code_hyper_latents(writer, hyper.shape, hyper)
        self._code_residuals(writer, scales, residuals)
        return _HEADER.pack(quality, self._check(hyper, residuals)) + writer.finish()

    @torch.inference_mode()
    def decode(self, data: bytes, height: int, width: int) -> Image:
        """The picture (height, width, 3) of a stream.

        Raises:
            MalformedPacket: the stream is no picture of this size by a codec with the same weights.
            ValueError: the size is too large.
        """
        _check_size(height, width)
        if len(data) < _HEADER.size:
            raise MalformedPacket(f"a picture of {len(data)} bytes")
        quality, check = _HEADER.unpack_from(data)
        if quality > MAX_QUALITY:
            raise MalformedPacket(f"a picture of quality {quality}; qualities end at {MAX_QUALITY}")
        reader = SymbolReader(self._tables, data[_HEADER.size :])
        grid = latent_grid((height, width))
        hyper_shape = (self._network.config.hyper_latents, *hyper_grid((height, width)))
        hyper = self._code_hyper_latents(reader, hyper_shape, None)
        if np.abs(hyper).max() > _MAX_HYPER_LATENT:
            raise MalformedPacket("a picture with hyper latents out of range")
        prediction = self._prediction(hyper, grid)
        residuals = self._code_residuals(reader, prediction.scale_index[0].numpy(), None)
        reader.check_length()
        if np.abs(residuals).max() > _MAX_RESIDUAL or self._check(hyper, residuals) != check:
            raise MalformedPacket("a picture whose check differs: it is damaged, or of other weights")
        y = torch.from_numpy(residuals) + prediction.mean[0]
        with fast_autocast():
            decoded = self._network.pictures(y.float()[None], _share(quality))
        return np.ascontiguousarray(as_image(decoded)[:height, :width])

    def _prediction(self, hyper: IntArray, grid: tuple[int, int]) -> Prediction:
        """Exact, and so the same at both ends."""
        whole = self._network.hyper_synthesis(torch.from_numpy(hyper)[None].double())
        return Prediction(*(each[..., : grid[0], : grid[1]] for each in whole))

    def _code_hyper_latents(self, coder: SymbolCoder, shape: tuple[int, ...], values: IntArray | None) -> IntArray:
        """Writes or reads hyper latents (C, h, w)."""
        rows = SCALES + np.repeat(np.arange(shape[0]), shape[1] * shape[2])
        flat = coder.residuals(rows, np.zeros_like(rows), None if values is None else values.ravel())
        return flat.reshape(shape)

    def _code_residuals(self, coder: SymbolCoder, scales: IntArray, values: IntArray | None) -> IntArray:
        """Writes or reads latents less their means; `scales` are their scale indices, in the same shape."""
        coded = scales >= _FIRST_CODED_SCALE
        rows = scales[coded]
        found = np.zeros(scales.shape, np.int64)
        found[coded] = coder.residuals(rows, low_bits(rows), None if values is None else values[coded])
        return found

    def _check(self, hyper: IntArray, residuals: IntArray) -> int:
        checksum = zlib.crc32(hyper.astype("<i4").tobytes(), self._seed)
        return zlib.crc32(residuals.astype("<i4").tobytes(), checksum) & 0xFFFF


def _check_size(height: int, width: int) -> None:
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise ValueError(f"a picture of {height} × {width} pixels; the codec's have 1 to {MAX_SIDE_PX} a side")


def _share(quality: int) -> Tensor:
    return torch.tensor([quality / MAX_QUALITY])
