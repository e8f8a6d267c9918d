"""Networks in use: captured by PyTorch on a GPU, by OpenVINO on the CPU, or by PyTorch where OpenVINO is missing.

For the CPU a network is compiled once for a machine.  The file in the cache's folder is named after the weights, the
code of the network and of its compilation, the version of OpenVINO, the processor, the precisions and the number of
threads.  Where the whole program and the file of weights are those of an earlier start, nothing else is needed, and the
network is not even built.
"""

import hashlib
import inspect
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import starmap
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from common.errors import WeightsError
from common.weights.captured import CapturedNetwork, hold_in_bf16
from common.weights.devices import CPU, fast_autocast, fast_in_bf16, int8_weight_bits
from common.weights.graph_cache import GRAPHS, file_name
from common.weights.manifest import Precision, Ranges, WeightsEntry
from common.weights.threads import side_by_side

if TYPE_CHECKING:
    from types import ModuleType

    from common.weights.graph import CompiledGraph
    from common.weights.mediapipe_operations import Part

_FORMAT = 2
"""Changes with what a compiled file contains, and with any code of a network that its classes' files do not have."""
_PROGRAM = [Path(__file__).parents[2] / package for package in ("common", "sender", "receiver")]

Build = Callable[[], nn.Module]

logger = logging.getLogger(__name__)

# PyTorch traces one network at a time.
_compiling = threading.Lock()


class NetworkInUse:
    """A trained network that only predicts: tensors of B rows → tensors of B rows, floating-point ones in float32.

    Threads may call it at once.  Inputs may be on any device, outputs are on the host.

    Args:
        network: tensors → a tuple of tensors, in evaluation mode, on its device; or what gives it when it is needed.
        precision: of matrix products and convolutions, where the machine computes in it.
        compiled: the same network by OpenVINO for one row; None to run it by PyTorch.
        name: in the log.
    """

    def __init__(
        self,
        network: nn.Module | Build,
        precision: Precision,
        device: torch.device,
        compiled: "CompiledGraph | None" = None,
        name: str = "",
    ) -> None:
        self._build: Build = (lambda: network) if isinstance(network, nn.Module) else network
        self._precision, self._device = precision, device
        self._compiled = compiled
        self._captured = CapturedNetwork(self.eager, name, device) if device.type != "cpu" else None

    @property
    def network(self) -> nn.Module:
        return self._build()

    @property
    def is_one_graph(self) -> bool:
        """Whether a call is one launch: what could not be compiled or captured is one for each operation."""
        return self._compiled is not None or (self._captured is not None and not self._captured.fails)

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._compiled is not None:
            if len(inputs[0]) == 1:
                return self._compiled(*inputs)
            rows = list(zip(*(one.split(1) for one in inputs), strict=True))
            over = side_by_side if self._compiled.threads > 1 else starmap
            return tuple(map(torch.cat, zip(*over(self._compiled, rows), strict=True)))
        return self.eager(*inputs) if self._captured is None else self._captured(*inputs)

    def eager(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """By PyTorch, for inputs on the network's device."""
        with fast_autocast(self._device.type, wanted=self._precision == "bf16"):
            outputs = self.network(*inputs)
        return tuple(output.float() if output.is_floating_point() else output for output in outputs)


def in_use(
    network: nn.Module | Build,
    example: Sequence[Tensor],
    name: str,
    precision: Precision = "float32",
    device: torch.device = CPU,
    int8: Ranges | None = None,
    threads: int | None = None,
    stored: WeightsEntry | None = None,
) -> NetworkInUse:
    """A network for use on a device, which it is moved to.

    Args:
        network: tensors → a tuple of tensors; or what builds it, from nothing but the code of this program and the
            weights of `stored`, when it is needed.
        example: inputs of one row.
        name: of the network in the log and the cache.
        precision: the one that the network's score permits, which its manifest records.
        int8: the layers that its score permits to multiply in 8 bits, likewise; they do where nothing runs in bf16.
        threads: rows that are computed at a time on the CPU; by default as many as PyTorch has threads.
        stored: the entry of the weights, by which a network that is compiled already is found without building it.
    """

    @cache
    def build() -> nn.Module:
        built = network if isinstance(network, nn.Module) else network()
        return built.eval().requires_grad_(False).to(device)

    if stored is None or device.type != "cpu":
        build()
    compiled = None
    if device.type == "cpu":
        permitted: Precision = precision if fast_in_bf16() else "float32"
        # Where bf16 is fast, quantising takes the time that products in 8 bits save.
        permitted_int8 = int8 or {} if permitted == "float32" and int8_weight_bits() else {}
        threads = threads or torch.get_num_threads()
        compiled = _compiled(build, example, name, permitted, permitted_int8, threads, stored)
    used = NetworkInUse(build, precision, device, compiled, name)
    if device.type != "cpu":
        hold_in_bf16(build(), used.eager, [tensor.to(device) for tensor in example])
        # Captured at the start, not in the first frame.
        used(*example)
    return used


@lru_cache(maxsize=1)
def _has_openvino() -> bool:
    return find_spec("openvino") is not None


def from_file(path: Path, name: str, parts: "Sequence[Part]" = ()) -> "CompiledGraph | None":
    """The network of a file that OpenVINO reads, on the CPU; None where there is none, or OpenVINO cannot run it.

    Args:
        name: of the network in the log and the cache.
        parts: as for `common.weights.graph.compile_file`.
    """
    if not path.is_file():
        return None
    threads = torch.get_num_threads()
    return _from_cache(
        name, path.read_bytes, lambda compiler: compiler.compile_file(path, threads, parts), threads=threads
    )


def _compiled(
    build: Build,
    example: Sequence[Tensor],
    name: str,
    precision: Precision,
    int8: Ranges,
    threads: int,
    stored: WeightsEntry | None,
) -> "CompiledGraph | None":
    """The network, compiled; None where OpenVINO cannot run it."""
    bits = int8_weight_bits()
    conditions = f"{precision} {bits} {sorted(int8.items())} {[tuple(tensor.shape) for tensor in example]}"
    return _from_cache(
        name,
        lambda: _identity(build(), conditions),
        lambda compiler: compiler.compile_graph(build(), example, precision, threads, int8, bits),
        precision,
        threads=threads,
        short="" if stored is None else f"{_program()} {json.dumps(asdict(stored), sort_keys=True)} {conditions}",
    )


def _from_cache(
    name: str,
    identity: Callable[[], bytes],
    make: "Callable[[ModuleType], CompiledGraph]",
    precision: Precision = "float32",
    *,
    threads: int,
    short: str = "",
) -> "CompiledGraph | None":
    """A network from the cache, or else compiled and stored there; None where OpenVINO cannot run it.

    Args:
        identity: all that the network is.
        make: compiles it, by `common.weights.graph`.
        short: what determines all that it is; empty if nothing does that takes less time.
    """
    if not _has_openvino():
        return None
    try:
        from common.weights import compiled_models, graph
    except (ImportError, RuntimeError, OSError) as error:
        logger.warning("OpenVINO cannot be used, so that networks run slower: %s", error)
        return None
    try:
        sources = b"".join(source.read_bytes() for source in graph.SOURCES)
        key = f"{_FORMAT} {threads} {compiled_models.processor()} ".encode() + sources
        noted = file_name(name, key + short.encode(), "name")
        known = GRAPHS.known(noted) if short else None
        if known and (models := GRAPHS.get(known, precision, threads)) is not None:
            return graph.CompiledGraph(models)
        file = file_name(name, key + identity())
        if short:
            GRAPHS.note(noted, file)
        if file != known and (models := GRAPHS.get(file, precision, threads)) is not None:
            return graph.CompiledGraph(models)
        _announce()
        with _compiling:
            compiled = make(graph)
        GRAPHS.put(file, compiled.models)
        return compiled
    except WeightsError:
        raise
    # OpenVINO has no common class of errors.
    except Exception as error:
        logger.warning("OpenVINO cannot run the network %s, which is slower without it: %s", name, error)
        return None


@lru_cache(maxsize=1)
def _program() -> str:
    """The code of this program, and of the library that its networks are written in, as a digest."""
    digest = hashlib.sha256(torch.__version__.encode())
    for file in sorted(file for package in _PROGRAM for file in package.rglob("*.py")):
        digest.update(f"{file.relative_to(_PROGRAM[0].parent)} ".encode() + file.read_bytes())
    return digest.hexdigest()


def _identity(network: nn.Module, conditions: str) -> bytes:
    """All that a compiled network depends on, besides the machine and its compiler, as a digest."""
    digest = hashlib.sha256(conditions.encode())
    for file in sorted({inspect.getfile(type(module)) for module in network.modules()}):
        digest.update(Path(file).read_bytes())
    # By name: some were registered in the order of a set, which differs from start to start.
    for name, tensor in sorted((*network.named_parameters(), *network.named_buffers()), key=itemgetter(0)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.digest()


@lru_cache(maxsize=1)
def _announce() -> None:
    """Says once why this start takes longer."""
    logger.info("compiling the networks for this processor, once: the next start is faster")
