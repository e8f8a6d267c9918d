"""Compiled networks in the cache's folder, and those that the last start has used, which are read ahead.

    start ─┬─ a thread: OpenVINO ─ networks of the last start ─┐
           └─ PyTorch ─ weights ─ network ─ its key ───────────┴─ in use ─ … ─ first frame: what was used is noted

A file is named after the key of all that it depends on, and used where nobody else can have made it
(`common.io.files`).  What was read ahead is used where its file is asked for.  The key of a network needs the
network itself, which takes longer to build than to read compiled: its file's name is stored under a shorter key.

Imports neither PyTorch nor OpenVINO, whose import takes as long as reading the networks.
"""

import hashlib
import json
import logging
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from common.io.files import atomic_write, cache_directory, is_trusted, open_regular
from common.weights.manifest import Precision

if TYPE_CHECKING:
    from types import ModuleType

    from common.arrays import ByteArray
    from common.weights.compiled_models import CompiledModels

# At its import already, OpenVINO reports to its authors where it finds this package, which is installed with it.
sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))

logger = logging.getLogger(__name__)

_KEY_DIGITS = 16
"""Of a key in the name of its file."""


def file_name(name: str, key: bytes, kind: str = "openvino") -> str:
    """Of a compiled network.

    Args:
        key: all that it depends on.
        kind: `openvino`, or `name` for the file that has the name of that one.
    """
    return f"network-{name}-{hashlib.sha256(key).hexdigest()[:_KEY_DIGITS]}.{kind}"


class GraphCache:
    """The files of compiled networks; threads may use it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead: dict[str, Future[CompiledModels | None]] = {}
        self._used: list[list[Any]] = []
        self._last: list[list[Any]] = []
        self._notes: Path | None = None
        self._reader = threading.Thread()

    def read_ahead(self, program: str) -> None:
        """Begins to read what the last start of a program has used, in a thread of its own, until `note_start`."""
        self._reader = threading.Thread(target=self._read_ahead, args=(program,), name="networks")
        self._reader.start()

    def wait_read(self) -> None:
        """Waits until all is read that is read ahead, so that what follows has the processor for itself."""
        if self._reader.is_alive():
            self._reader.join()

    def get(self, file: str, precision: Precision, threads: int) -> "CompiledModels | None":
        """The models of a file; None where it is missing or cannot be used, which is logged.

        Args:
            file: its name.
            precision, threads: as of `CompiledModels.deserialised`.
        """
        with self._lock:
            self._used.append([file, precision, threads])
            reading = self._ahead.pop(file, None)
        models = None if reading is None else reading.result()
        try:
            return models or _models(file, precision, threads)
        except (ValueError, RuntimeError) as error:
            logger.warning("the compiled network %s cannot be used: %s", cache_directory() / file, error)
        return None

    def put(self, file: str, models: "CompiledModels") -> None:
        """Writes a file, if its folder can be written."""
        self._write(file, models.serialised())

    def known(self, name: str) -> str | None:
        """What `note` was told of a name; None if nothing."""
        content = _read(name)
        return None if content is None else Path(content.tobytes().decode(errors="replace")).name

    def note(self, name: str, file: str) -> None:
        """Writes the name of a file under another one, if the folder can be written."""
        self._write(name, file.encode())

    def _write(self, file: str, content: bytes) -> None:
        path = cache_directory() / file
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            atomic_write(path, content, synced=False, mode=0o644)
        except OSError as error:
            logger.warning("compiled networks cannot be cached, so that every start takes longer: %s", error)

    def note_start(self) -> None:
        """Notes what was used until now, for the next start, and drops what was read ahead in vain."""
        with self._lock:
            notes, self._notes = self._notes, None
            self._ahead.clear()
        if notes is not None and sorted(self._used) != sorted(self._last):
            try:
                atomic_write(notes, json.dumps(self._used).encode(), synced=False, mode=0o644)
            except OSError as error:
                logger.debug("the networks of this start cannot be noted: %s", error)

    def _read_ahead(self, program: str) -> None:
        # Whatever fails here is tried again, and reported, where it is asked for.
        try:
            from common.weights.compiled_models import processor

            key = hashlib.sha256(processor().encode()).hexdigest()[:_KEY_DIGITS]
            self._notes = cache_directory() / f"start-{program}-{key}.json"
            noted = [] if (content := _read(self._notes.name)) is None else json.loads(content.tobytes())
            self._last = [[Path(file).name, str(precision), int(threads)] for file, precision, threads in noted]
            for file, precision, threads in self._last:
                self._read_file(file, precision, threads)
        except Exception as error:
            logger.debug("no networks are read ahead: %s", error)

    def _read_file(self, file: str, precision: Precision, threads: int) -> None:
        """Reads a file unless it has been asked for, or nothing is to be read ahead any more."""
        with self._lock:
            if self._notes is None or any(used == file for used, *_ in self._used):
                return
            reading = self._ahead[file] = Future()
        try:
            reading.set_result(_models(file, precision, threads))
        except Exception:
            reading.set_result(None)


GRAPHS = GraphCache()
"""The one of this process."""


def _models(file: str, precision: Precision, threads: int) -> "CompiledModels | None":
    """Raises ValueError or RuntimeError where a file cannot be used; None if there is none to use."""
    from common.weights.compiled_models import CompiledModels

    stored = _read(file)
    return None if stored is None else CompiledModels.deserialised(stored, precision, threads)


def _read(file: str) -> "ByteArray | None":
    """The content of a file of the cache; None if it is missing, or another user may have made it."""
    path = cache_directory() / file
    try:
        with open_regular(path, follow_links=True) as opened:
            if is_trusted(opened, path):
                return np.fromfile(opened, np.uint8)
    except OSError:
        return None
    logger.warning("the compiled network %s is not used: another user may have made it; remove it", path)
    return None
