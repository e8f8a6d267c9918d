"""The manifest of trained weights and of the body, which names each file and its checksum; no other file is loaded.

    common/weights/manifest.json
        {"format": 1,
         "entries": {"perception": {"file": "perception.safetensors.gz", "sha256": "…", "storage": "int8",
                                    "architecture": {…}, "recipe": {…}, "scores": {…}}, …}}

Large matrices are stored in 8 bits (`common.weights.loader`), which the compressed file has in about 6.

Sender and receiver must have the same linear spaces and codec tables: the handshake compares `model_hash`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from common.codec.tables import load as load_tables
from common.errors import WeightsError
from common.io.files import atomic_write

Config = TypeVar("Config")
Storage = Literal["int8", "float32", "exact"]
Precision = Literal["bf16", "float32"]
Ranges = Mapping[str, tuple[float, float]]
"""Module of a network → smallest and largest value of its input, as calibration has seen them."""

FORMAT = 1
WEIGHTS_DIRECTORY = Path(__file__).resolve().parent
_MANIFEST = "manifest.json"
OPTIONAL: Final = frozenset({"movenet_lightning", "movenet_thunder"})
"""Networks without which everything runs, and says so; their files may be missing."""
_RANGE = re.compile(r"\[\s+(-?[\d.]+),\s+(-?[\d.]+)\s+\]")
"""A pair of numbers, which takes one line."""
_SPACES = ("label_space.safetensors", "shape_space.safetensors", "surface_space.safetensors")


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """A file of weights.

    Args:
        sha256: SHA-256 of its bytes, hexadecimal.
        architecture: the config of the network; a network with another one refuses the weights.
        recipe: how to train it again: data, seeds, steps.
        scores: measured quality, with units in the names.
        storage: `int8` for large matrices in 8 bits in a compressed file; `float32` for all weights; `exact` for values
            as they are, in a compressed file.
        precision: the lowest in which the network scores as in float32 on its validation data; it is used where the
            machine computes in it (`common.weights.inference`).
        int8: inputs of the layers that may multiply in 8 bits without a lower score; empty if none may.
    """

    file: str
    sha256: str
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any]
    scores: Mapping[str, Any]
    storage: Storage = "int8"
    precision: Precision = "float32"
    int8: Ranges = field(default_factory=dict)


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

    Raises:
        WeightsError: the entry is missing, or has another kind or other fields.
    """
    fields = {
        field: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for field, value in find_entry(name, directory).architecture.items()
    }
    try:
        if fields.pop("kind", None) == kind:
            return config_type(**fields)
    except (TypeError, ValueError):
        pass
    raise WeightsError(f"weights {name!r} are of another version: reinstall bodywire")


def read_file(entry: WeightsEntry, directory: Path = WEIGHTS_DIRECTORY) -> bytes:
    """The content of an entry's file; raises WeightsError where it is missing, damaged or of another version."""
    path = directory / entry.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read ({error.strerror}): reinstall bodywire") from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise WeightsError(f"weights {path} are damaged or of another version (checksum differs): reinstall bodywire")
    return content


def check_files(directory: Path = WEIGHTS_DIRECTORY) -> None:
    """Checks all files of the manifest, for programs that load some of them only when they are needed.

    Raises:
        WeightsError: a file is missing (but those of `OPTIONAL`), damaged or of another version.
    """
    for name, entry in read_manifest(directory).items():
        if name not in OPTIONAL or (directory / entry.file).exists():
            read_file(entry, directory)


def add_entry(name: str, entry: WeightsEntry, content: bytes, directory: Path) -> None:
    """Writes a file of weights and its entry, each atomically; an existing entry of this name is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    entries = read_manifest(directory) if (directory / _MANIFEST).exists() else {}
    entries[name] = entry
    document = {"format": FORMAT, "entries": {key: asdict(entries[key]) for key in sorted(entries)}}
    atomic_write(directory / entry.file, content)
    text = _RANGE.sub(r"[\1, \2]", json.dumps(document, indent=1))
    atomic_write(directory / _MANIFEST, f"{text}\n".encode())


def model_hash(directory: Path = WEIGHTS_DIRECTORY) -> bytes:
    """8 bytes that are equal at two ends if they can decode each other's labels.

    The hash covers the linear spaces that define the labels, and the tables of the codec.

    Raises:
        WeightsError: a file of a space cannot be read.
    """
    digests: dict[str, str] = {}
    for file in _SPACES:
        try:
            if (directory / file).exists():
                digests[file] = hashlib.sha256((directory / file).read_bytes()).hexdigest()
        except OSError as error:
            raise WeightsError(f"{directory / file} cannot be read ({error.strerror}): reinstall bodywire") from error
    digests["codec tables"] = load_tables().digest.hex()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).digest()[:8]


def _check_entry(entry: WeightsEntry) -> None:
    """Raises TypeError for a field of another type, and ValueError for a file outside the folder."""
    for name, kind in (("file", str), ("sha256", str), ("architecture", dict), ("int8", dict)):
        if not isinstance(getattr(entry, name), kind):
            raise TypeError(f"{name} is not a {kind.__name__}")
    if Path(entry.file).name != entry.file:
        raise ValueError(f"{entry.file} is not in the folder")
