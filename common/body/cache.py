"""The cache of the baked body model: a file in `$BODYWIRE_CACHE` (default `~/.cache/bodywire`) with a checksum.

A file that is damaged, or that another user may have made, is not used; a directory that cannot be written is replaced.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from common.body.anatomy import SHAPE_SPACE_FILE
from common.body.bake import BAKE_VERSION, Arrays, bake
from common.errors import OutputError, WeightsError
from common.io.atomic_write import atomic_replacement
from common.io.cache_folder import cache_directory, is_trusted, temporary_directory
from common.io.regular_file import open_regular

_DIGEST = "sha256"
# Several times as large as it is.
_MAX_BYTES = 100_000_000
# One thread at a time: it is baked once, and Python 3.11 may fail to parse the heads of two arrays in two threads.
_loading = threading.Lock()

logger = logging.getLogger(__name__)


def cache_file() -> Path:
    """The cache file; its name changes with the bake version, the wheel and the shape space.

    Raises:
        WeightsError: the shape space cannot be read.
        OutputError: there is no directory for a cache.
    """
    try:
        space = hashlib.sha256(SHAPE_SPACE_FILE.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise WeightsError(f"{SHAPE_SPACE_FILE.name} is missing or unreadable; reinstall bodywire") from error
    return cache_directory() / f"body-{BAKE_VERSION}-anny{version('anny')}-{space}.npz"


def load_arrays() -> Arrays:
    """The baked arrays; bakes them first (less than a minute) if the cache does not have them undamaged.

    A cache that cannot be written is replaced by one among the temporary files, or else by baking at every start.

    Raises:
        WeightsError: the shape space is missing or damaged.
        OutputError: there is no directory for a cache, or for temporary files.
    """
    path = cache_file()
    with _loading:
        return dict(_load_arrays(path))


@lru_cache(maxsize=1)
def _load_arrays(path: Path) -> Arrays:
    stored = read_arrays(path)
    if stored is not None:
        return stored
    temporary = temporary_directory()
    replacement = temporary / path.name if temporary else None
    stored = read_arrays(replacement) if replacement else None
    if stored is not None:
        _saving_failure(path, stored)  # it may be possible to write there by now
        return stored
    logger.info("baking the body model into %s", path)
    arrays = _bake()
    failure = _saving_failure(path, arrays)
    if failure is not None:
        replaced = replacement is not None and _saving_failure(replacement, arrays) is None
        logger.warning(
            "the body model's cache cannot be written (%s), so that %s: set HOME or BODYWIRE_CACHE to a directory that "
            "can be written",
            failure,
            f"{replacement} is used" if replaced else "the model is baked at every start",
        )
    return arrays


def read_arrays(path: Path) -> Arrays | None:
    """The arrays of a cache file; None if it is missing, or damaged, or another user may have made it."""
    try:
        with open_regular(path, _MAX_BYTES, follow_links=True) as file:
            if not is_trusted(file, path):
                logger.warning(
                    "the body model's cache %s is not used: another user may have made it; remove it, and let only "
                    "this user write %s",
                    path,
                    path.parent,
                )
                return None
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        if not np.array_equal(arrays.pop(_DIGEST), _digest(arrays)):
            raise ValueError("its checksum differs")
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A damaged archive raises almost anything.
    except Exception as error:
        logger.warning("the body model's cache %s cannot be used and is baked again: %s", path, error)
        return None
    return arrays


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes a cache file atomically; several processes may bake at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (
        atomic_replacement(path) as partial,
        open(partial, "wb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file,
    ):
        np.savez(file, allow_pickle=False, **arrays)


def _saving_failure(path: Path, arrays: Arrays) -> str | None:
    """Saves arrays with their digest; what failed, if it did."""
    try:
        save_arrays(path, arrays | {_DIGEST: _digest(arrays)})
    except OSError as error:
        return f"{error.filename or path}: {error.strerror or error}"
    return None


def _digest(arrays: Arrays) -> npt.NDArray[np.uint8]:
    """(32,) SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _bake() -> Arrays:
    """Bakes with Anny's own cache, or in an empty one if that is damaged or cannot be written.

    Raises:
        WeightsError: the shape space is damaged.
        OutputError: there is no directory for temporary files.
    """
    try:
        space = load_file(SHAPE_SPACE_FILE)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{SHAPE_SPACE_FILE.name} is damaged; reinstall bodywire") from error
    try:
        return bake(space)
    # Anny reads its files unchecked, so that a damaged one may raise almost anything; without HOME, its import fails.
    except Exception as error:
        logger.warning("Anny's own cache cannot be used, so that the body model is baked without it: %s", error)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bodywire-bake-", ignore_cleanup_errors=True) as folder,
            # Anny and its GPU framework look for HOME when they are imported.
            _environment(WARP_CACHE_PATH=folder, HOME=folder),
        ):
            return bake(space, Path(folder))
    except OSError as error:
        raise OutputError(
            f"cannot bake the body model ({error.filename or error}: {error.strerror}): set TMPDIR to a directory "
            "that can be written and has 1 GB free"
        ) from error
    except KeyError as error:
        raise WeightsError(f"{SHAPE_SPACE_FILE.name} has no {error}; reinstall bodywire") from error


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Sets environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
