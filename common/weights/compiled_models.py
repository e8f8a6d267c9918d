"""OpenVINO's compiled models, and the bytes that they are stored as.

Imports OpenVINO, so that only `common.weights.graph` and `common.weights.graph_cache` may import it, and not PyTorch,
so that models are read while PyTorch is imported.
"""

import hashlib
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino

from common.arrays import ByteArray
from common.weights.manifest import Precision
from common.weights.threads import instructions_limit

CPU = "CPU"

# One for the process, for ever.  Each has a CPU plugin, which on Linux gives the thread a stack of its own for signal
# handlers, and at its end puts back the one that it found.  With two plugins, that may be one that is freed by now, and
# the next signal that is handled, SIGTERM or SIGINT, ends the process.
CORE = openvino.Core()

_HINTS: dict[Precision, str] = {"bf16": "bf16", "float32": "f32"}
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class CompiledModels:
    """A network's parts.

    Args:
        parts: OpenVINO's compiled models; each reads what the one before returns.
        content: which their weights may lie in.
    """

    parts: Sequence[Any]
    content: ByteArray | None = None

    def serialised(self) -> bytes:
        """The parts with a checksum; only this version of OpenVINO on such a processor reads them."""
        content = b""
        for part in self.parts:
            stream = io.BytesIO()
            part.export_model(stream)
            content += _LENGTH.pack(len(stream.getbuffer())) + stream.getvalue()
        return hashlib.sha256(content).digest() + content

    @classmethod
    def deserialised(cls, stored: ByteArray, precision: Precision, threads: int) -> "CompiledModels":
        """The inverse of `serialised`.

        Args:
            precision: that of the first part; the others are in float32.
            threads: see `options`.

        Raises:
            ValueError: `stored` is damaged.
        """
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if digest.tobytes() != hashlib.sha256(content.data).digest():
            raise ValueError("its checksum differs")
        parts: list[Any] = []
        while len(content):
            (length,) = _LENGTH.unpack_from(content.data)
            part, content = np.split(content[_LENGTH.size :], [length])
            tensor = openvino.Tensor(part, shared_memory=True)
            parts.append(CORE.import_model(tensor, CPU, options("float32" if parts else precision, threads)))
        return cls(parts, stored)


def processor() -> str:
    """What a compiled model depends on besides the network: the version of OpenVINO, the processor and its limit."""
    capabilities = sorted(CORE.get_property(CPU, "OPTIMIZATION_CAPABILITIES"))
    name = CORE.get_property(CPU, "FULL_DEVICE_NAME")
    return " ".join([openvino.get_version(), name, *capabilities, instructions_limit()])


def options(precision: Precision, threads: int) -> dict[str, str | int | bool]:
    """How a model is compiled or read.

    Args:
        threads: so many compute at a time, each another input; others wait for them.
    """
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }
