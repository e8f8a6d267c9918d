"""Trained weights: safetensors files and a manifest with the checksum of each; no other file is loaded.

    common/weights/manifest.json
        {"format": 1,
         "entries": {"perception": {"file": "perception.safetensors", "sha256": "…", "shared": false,
                                    "architecture": {…}, "recipe": {…}, "scores": {…}}, …}}

Sender and receiver must have the same `shared` weights: the handshake compares `model_hash`.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from common.codec.tables import load as load_tables
from common.errors import WeightsError
from common.io.atomic_write import atomic_write

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")

FORMAT = 1
WEIGHTS_DIRECTORY = Path(__file__).resolve().parent
_MANIFEST = "manifest.json"
_SPACES = ("label_space.safetensors", "shape_space.safetensors", "surface_space.safetensors")


class DataclassInstance(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """A file of weights.

    Args:
        file: its name, in the folder of the manifest.
        sha256: SHA-256 of its bytes, hexadecimal.
        shared: whether both ends must have the same weights.
        architecture: the config of the network; a network with another one refuses the weights.
        recipe: how to train it again: data, seeds, steps.
        scores: measured quality, with units in the names.
    """

    file: str
    sha256: str
    shared: bool
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any]
    scores: Mapping[str, Any]


def read_manifest(directory: Path = WEIGHTS_DIRECTORY) -> dict[str, WeightsEntry]:
    """All entries by name.

    Raises:
        WeightsError: the manifest is missing, damaged, or of another format.
    """
    path = directory / _MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise WeightsError(f"{path} has format {document['format']}, not {FORMAT}: reinstall bodywire")
        entries = {name: WeightsEntry(**entry) for name, entry in document["entries"].items()}
        for entry in entries.values():
            _check_entry(entry)
        return entries
    except FileNotFoundError as error:
        raise WeightsError(
            f"no trained weights in {directory}: reinstall bodywire or train them (see docs/training.md)"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged: reinstall bodywire") from error


def load_weights(
    name: str, architecture: Mapping[str, Any] | None = None, directory: Path = WEIGHTS_DIRECTORY
) -> dict[str, Tensor]:
    """Tensors of one entry, with floating-point ones converted to float32.

    Args:
        name: the entry, for example "perception".
        architecture: the config of the caller's network; None accepts any.
        directory: folder of the manifest.

    Raises:
        WeightsError: the entry or its file is missing, damaged, or of another architecture.
    """
    entry = find_entry(name, directory)
    if architecture is not None and dict(entry.architecture) != dict(architecture):
        raise WeightsError(f"weights {name!r} are of another version: reinstall bodywire or train again")
    try:
        content = (directory / entry.file).read_bytes()
    except OSError as error:
        raise WeightsError(
            f"weights {name!r} cannot be read ({directory / entry.file}: {error.strerror}): reinstall bodywire"
        ) from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise WeightsError(f"weights {name!r} are damaged or of another version (checksum differs): reinstall bodywire")
    try:
        tensors = load(content)
    except SafetensorError as error:
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


def find_entry(name: str, directory: Path = WEIGHTS_DIRECTORY) -> WeightsEntry:
    """One entry of the manifest.

    Raises:
        WeightsError: there is no such entry.
    """
    entries = read_manifest(directory)
    if name not in entries:
        raise WeightsError(f"weights {name!r} are missing from {directory}: reinstall bodywire or train them")
    return entries[name]


def recorded_config(
    name: str, kind: str, config_type: Callable[..., Config], directory: Path = WEIGHTS_DIRECTORY
) -> Config:
    """The config of an entry's network.

    Args:
        name: the entry; its architecture has a `kind` and the fields of the config.
        kind: the kind of network that the caller builds.
        config_type: makes a config of the fields; raises `ValueError` for invalid ones.
        directory: folder of the manifest.

    Raises:
        WeightsError: the entry is missing, or has another kind or other fields.
    """
    fields = dict(find_entry(name, directory).architecture)
    try:
        if fields.pop("kind", None) == kind:
            return config_type(**fields)
    except (TypeError, ValueError):
        pass
    raise WeightsError(f"weights {name!r} are of another version: reinstall bodywire")


def save_weights(
    name: str,
    tensors: Mapping[str, Tensor],
    architecture: Mapping[str, Any],
    recipe: Mapping[str, Any],
    scores: Mapping[str, Any],
    *,
    half: bool = True,
    shared: bool = False,
    directory: Path = WEIGHTS_DIRECTORY,
) -> WeightsEntry:
    """Writes `<name>.safetensors` and its entry in the manifest, each atomically.

    Args:
        name: the entry; an existing one of this name is replaced.
        tensors: the network's state_dict.
        architecture: see `WeightsEntry`.
        recipe: see `WeightsEntry`.
        scores: see `WeightsEntry`.
        half: store floating-point tensors in 16 bits.
        shared: both ends must have the same weights, so they enter `model_hash`.
        directory: folder of the manifest.
    """
    content = save({key: _stored(value, half) for key, value in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    entry = WeightsEntry(f"{name}.safetensors", digest, shared, dict(architecture), dict(recipe), dict(scores))
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        entries = read_manifest(directory) if (directory / _MANIFEST).exists() else {}
        entries[name] = entry
        document = {"format": FORMAT, "entries": {key: asdict(entries[key]) for key in sorted(entries)}}
        atomic_write(directory / entry.file, content)
        atomic_write(directory / _MANIFEST, (json.dumps(document, indent=1) + "\n").encode())
    return entry


def model_hash(directory: Path = WEIGHTS_DIRECTORY) -> bytes:
    """8 bytes that are equal at two ends if they can decode each other's labels.

    The hash covers the `shared` entries, the linear spaces that define the labels, and the tables of the codec.

    Raises:
        WeightsError: as `read_manifest`.
    """
    shared = {name: entry.sha256 for name, entry in read_manifest(directory).items() if entry.shared}
    for file in _SPACES:
        try:
            if (directory / file).exists():
                shared[file] = hashlib.sha256((directory / file).read_bytes()).hexdigest()
        except OSError as error:
            raise WeightsError(f"{directory / file} cannot be read ({error.strerror}): reinstall bodywire") from error
    shared["codec tables"] = load_tables().digest.hex()
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).digest()[:8]


def architecture_of(config: DataclassInstance) -> dict[str, Any]:
    """A network's config as JSON stores it, with lists instead of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def _check_entry(entry: WeightsEntry) -> None:
    """Raises TypeError for a field of another type, and ValueError for a file outside the folder."""
    for name, kind in (("file", str), ("sha256", str), ("shared", bool), ("architecture", dict)):
        if not isinstance(getattr(entry, name), kind):
            raise TypeError(f"{name} is not a {kind.__name__}")
    if Path(entry.file).name != entry.file:
        raise ValueError(f"{entry.file} is not in the folder")


def _stored(tensor: Tensor, half: bool) -> Tensor:
    stored = tensor.detach().to("cpu", torch.float16 if half and tensor.is_floating_point() else tensor.dtype)
    return stored.contiguous().clone()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Serialises trainings that update the same manifest."""
    with open(directory / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
