"""Loading and saving of trained weights: safetensors files beside the manifest that names them.

Matrices of trained networks are stored in 8 bits: integers, and one scale for each output channel.

    "layer.weight"        int8      round(w / scale)
    "layer.weight:scale"  float32   the step: 1/24 of the channel's root mean square, or 1/127 of its largest value

The root mean square of the error is 1.2 % of the weights'.  Finer steps would take the same bytes here, but more in the
compressed file.  Vectors (biases, norms) and small matrices are stored in 16 bits, integers as they are.
"""

import gzip
import hashlib
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

import torch
import zstandard
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from common.errors import WeightsError
from common.weights.manifest import (
    WEIGHTS_DIRECTORY,
    Precision,
    Storage,
    WeightsEntry,
    add_entry,
    find_entry,
    read_file,
    recorded_config,
)

# Of a network within another one, too.
_building = threading.RLock()

Network = TypeVar("Network", bound=nn.Module)


class DataclassInstance(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Config = TypeVar("Config", bound=DataclassInstance)

_SUFFIXES = {"int8": ".safetensors.gz", "exact": ".safetensors.zst"}
_COMPRESSION_LEVEL = 19


def load_weights(
    name: str, architecture: Mapping[str, Any] | None = None, directory: Path = WEIGHTS_DIRECTORY
) -> dict[str, Tensor]:
    """Tensors of one entry, with floating-point ones converted to float32.

    Args:
        architecture: the config of the caller's network; None accepts any.

    Raises:
        WeightsError: the entry or its file is missing, damaged, or of another architecture.
    """
    entry = find_entry(name, directory)
    if architecture is not None and dict(entry.architecture) != dict(architecture):
        raise WeightsError(f"weights {name!r} are of another version: reinstall bodywire or train again")
    content = read_file(entry, directory)
    try:
        tensors = _unpacked(content, entry.storage)
    except (SafetensorError, OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise WeightsError(f"weights {name!r} are not a safetensors file: reinstall bodywire") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def load_into(
    network: Network,
    name: str,
    architecture: Mapping[str, Any] | None = None,
    directory: Path = WEIGHTS_DIRECTORY,
) -> Network:
    """Loads the weights of one entry into a network and sets evaluation mode; arguments as for `load_weights`.

    Raises:
        WeightsError: the entry or its file is missing, damaged, or of another network.
    """
    tensors = load_weights(name, architecture, directory)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(f"weights {name!r} are of another version than this program: reinstall bodywire") from error
    return network.eval()


def made(build: Callable[[Config], Network], config: Config) -> Network:
    """A network of a config; its first weights, which are random, leave PyTorch's generator as it was."""
    with _building, torch.random.fork_rng(devices=()):
        return build(config)


def load_recorded(
    name: str,
    kind: str,
    config_type: Callable[..., Config],
    build: Callable[[Config], Network],
    directory: Path = WEIGHTS_DIRECTORY,
) -> Network:
    """The network of an entry, made from the config that the entry records, with its weights, in evaluation mode.

    Args:
        name, kind, config_type, directory: as for `recorded_config`.
        build: makes the network of a config.

    Raises:
        WeightsError: the entry or its file is missing, damaged, or of another network.
    """
    config = recorded_config(name, kind, config_type, directory)
    return load_into(made(build, config), name, {"kind": kind, **architecture_of(config)}, directory)


def later(
    name: str,
    kind: str,
    config_type: Callable[..., Config],
    build: Callable[[Config], Network],
    directory: Path = WEIGHTS_DIRECTORY,
) -> tuple[Config, Callable[[], Network]]:
    """The config of an entry's network, and what gives the network: the same each time, built when it is needed.

    Arguments and errors are those of `load_recorded`: the file is checked at once.
    """
    config = recorded_config(name, kind, config_type, directory)
    read_file(find_entry(name, directory), directory)
    return config, cache(partial(load_recorded, name, kind, config_type, build, directory))


def save_weights(
    name: str,
    tensors: Mapping[str, Tensor],
    architecture: Mapping[str, Any],
    recipe: Mapping[str, Any],
    scores: Mapping[str, Any],
    *,
    storage: Storage = "int8",
    precision: Precision = "float32",
    directory: Path = WEIGHTS_DIRECTORY,
) -> WeightsEntry:
    """Writes the file of weights and its entry in the manifest, each atomically.

    Args:
        name: the entry; an existing one of this name is replaced.
        precision: of use, as the manifest records it.
    """
    suffix = _SUFFIXES.get(storage, ".safetensors")
    content = _content(tensors, storage)
    digest = hashlib.sha256(content).hexdigest()
    entry = WeightsEntry(name + suffix, digest, dict(architecture), dict(recipe), dict(scores), storage, precision)
    add_entry(name, entry, content, directory)
    return entry


def architecture_of(config: DataclassInstance) -> dict[str, Any]:
    """A network's config as JSON stores it, with lists instead of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def _unpacked(content: bytes, storage: Storage) -> dict[str, Tensor]:
    if storage == "int8":
        return dequantised(load(gzip.decompress(content)))
    return load(zstandard.decompress(content) if storage == "exact" else content)


def _content(tensors: Mapping[str, Tensor], storage: Storage) -> bytes:
    values = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    if storage == "int8":
        return gzip.compress(save(quantised(values)), mtime=0)
    if storage == "exact":
        return zstandard.compress(save(values), _COMPRESSION_LEVEL)
    return save({key: value.float() if value.is_floating_point() else value for key, value in values.items()})


SCALE: Final = ":scale"
_STEPS_PER_DEVIATION: Final = 24
_LARGEST: Final = 127
# A table of narrow rows, such as standard deviations of coefficients, is no matrix to multiply by.
_FEWEST_VALUES, _FEWEST_OF_CHANNEL = 4096, 64
_SMALLEST_STEP: Final = 1e-20


def quantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices and kernels as int8 with their scales; other floating-point tensors as float16."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            stored[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < _FEWEST_VALUES or tensor[0].numel() < _FEWEST_OF_CHANNEL:
            stored[name] = tensor.half()
        else:
            stored[name + SCALE] = scale = _scale(tensor.float())
            stored[name] = (tensor.float() / scale).round().to(torch.int8)
    return stored


def dequantised(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantised`, up to rounding; float32 in place of int8."""
    return {
        name: tensor.float() * stored[name + SCALE] if name + SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(SCALE)
    }


def _scale(tensor: Tensor) -> Tensor:
    """(C, 1, …) for a tensor (C, …)."""
    axes = tuple(range(1, tensor.ndim))
    finest = tensor.abs().amax(axes, keepdim=True) / _LARGEST
    step = tensor.square().mean(axes, keepdim=True).sqrt() / _STEPS_PER_DEVIATION
    return torch.maximum(finest, step).clamp_min(_SMALLEST_STEP)
