"""Trained weights: safetensors beside a manifest that vouches for each file; nothing else is loaded.

    common/weights/manifest.json
        {"format": 1,
         "entries": {"perception": {"file": "perception.safetensors", "sha256": "…", "shared": false,
                                    "architecture": {…}, "recipe": {…}, "scores": {…}}, …}}

`shared` marks what sender and receiver must have alike: the handshake compares `model_hash`.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from common.errors import WeightsError
from common.io.atomic_write import atomic_write

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")

FORMAT = 1
WEIGHTS_DIRECTORY = Path(__file__).resolve().parent
_MANIFEST = "manifest.json"
_SPACES = ("label_space.safetensors", "shape_space.safetensors")


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One file of weights.

    Args:
        file: its name beside the manifest.
        sha256: of its bytes, hexadecimal.
        shared: whether both ends must have the same.
        architecture: what the network is built from; a network of other sizes refuses it.
        recipe: data, seeds, steps: how to train it again.
        scores: measured quality, units in the names.
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
        WeightsError: there is no manifest, it cannot be read, or it has another format.
    """
    path = directory / _MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise WeightsError(f"{path} has format {document['format']}, not {FORMAT}: reinstall bodywire")
        return {name: WeightsEntry(**entry) for name, entry in document["entries"].items()}
    except FileNotFoundError as error:
        raise WeightsError(
            f"no trained weights in {directory}: reinstall bodywire or train them (see README)"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged: reinstall bodywire") from error


def load_weights(
    name: str, architecture: Mapping[str, Any] | None = None, directory: Path = WEIGHTS_DIRECTORY
) -> dict[str, Tensor]:
    """Tensors of one entry, float32 where they were stored in half precision.

    Args:
        name: the entry, for example "perception".
        architecture: what the caller's network is built from; None takes whatever the manifest says.
        directory: where the manifest stands.

    Raises:
        WeightsError: the entry or its file is missing, damaged, or of another architecture.
    """
    entry = find_entry(name, directory)
    if architecture is not None and dict(entry.architecture) != dict(architecture):
        raise WeightsError(f"weights {name!r} are of another version: reinstall bodywire or train again")
    try:
        content = (directory / entry.file).read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {name!r} are missing ({directory / entry.file}): reinstall bodywire") from error
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
    """The network with the weights of one entry, in evaluation mode; arguments as for `load_weights`.

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
    """What an entry's network is built from.

    Args:
        name: the entry, whose architecture has a `kind` and the config's fields.
        kind: of network that this program builds.
        config_type: makes a config from the fields; raises `ValueError` for what cannot be built.
        directory: where the manifest stands.

    Raises:
        WeightsError: the entry is missing, or of another kind or other fields.
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
    """Writes `<name>.safetensors` and its entry; each file appears whole or not at all.

    Args:
        half: store floating-point tensors in 16 bits.
        shared: both ends must have the same (enters `model_hash`).
    """
    stored = {key: _packed(value, half) for key, value in tensors.items()}
    content = save(stored)
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
    """8 bytes that two ends have in common when they can understand each other's labels.

    It covers the entries that are marked `shared`, and the two linear spaces that give labels their meaning.

    Raises:
        WeightsError: as `read_manifest`.
    """
    shared = {name: entry.sha256 for name, entry in read_manifest(directory).items() if entry.shared}
    for file in _SPACES:
        if (directory / file).exists():
            shared[file] = hashlib.sha256((directory / file).read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).digest()[:8]


def architecture_of(config: "DataclassInstance") -> dict[str, Any]:
    """A network's config as the manifest keeps it: JSON has lists, not tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def _packed(tensor: Tensor, half: bool) -> Tensor:
    packed = tensor.detach().to("cpu", torch.float16 if half and tensor.is_floating_point() else tensor.dtype)
    return packed.contiguous().clone()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Trainings of several networks may finish together and write one manifest."""
    with open(directory / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
