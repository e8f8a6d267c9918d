"""Work that may not pile up: of what waits, only the newest is done."""

import threading
from collections.abc import Callable, Hashable

Call = Callable[[], None]


class NewestCalls:
    """Of the calls that wait under one key, makes the newest; any thread may put calls."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Call] = {}
        self._lock = threading.Lock()

    def put(self, key: Hashable, call: Call, submit: Callable[[Call], object]) -> bool:
        """Takes a call, at once; returns whether it has replaced one that waited.

        Args:
            submit: lets another thread run what it is given, which makes the newest call of the key by then.
        """
        with self._lock:
            replaced = key in self._waiting
            self._waiting[key] = call
        if not replaced:
            submit(lambda: self._make(key))
        return replaced

    def drop(self) -> None:
        """Forgets all calls that wait."""
        with self._lock:
            self._waiting.clear()

    def _make(self, key: Hashable) -> None:
        with self._lock:
            call = self._waiting.pop(key, None)
        if call is not None:
            call()
