"""Streams that are refused: why, and the bounded log of them."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import StrEnum

from common.clock import Clock
from common.wire.stream import StreamBroken

logger = logging.getLogger(__name__)

_INTERVAL_S = 60.0
_KEYS = 256


class Refusal(StrEnum):
    """Why a stream is refused, with the label of the metric."""

    SILENT = "silent"  # no Hello in time
    MALFORMED = "malformed"  # the first message is not a valid Hello
    VERSION = "version"  # another protocol, codec or model
    IDENTITY = "identity"  # no valid token
    OWNER = "owner"  # the session belongs to another sender
    FULL = "full"  # no room for another session or handshake
    BUSY = "busy"  # no computing time for another live session
    ELSEWHERE = "elsewhere"  # a stream of another receiver uses the session


_CODES = {
    Refusal.SILENT: "DEADLINE_EXCEEDED",
    Refusal.MALFORMED: "INVALID_ARGUMENT",
    Refusal.VERSION: "FAILED_PRECONDITION",
    Refusal.IDENTITY: "UNAUTHENTICATED",
    Refusal.OWNER: "PERMISSION_DENIED",
    Refusal.FULL: "RESOURCE_EXHAUSTED",
    Refusal.BUSY: "RESOURCE_EXHAUSTED",
    Refusal.ELSEWHERE: "RESOURCE_EXHAUSTED",
}


class StreamRefused(StreamBroken):
    """A stream is refused before its session is used, with a reason for the sender and a detail for the log."""

    def __init__(self, refusal: Refusal, reason: str, detail: str = "") -> None:
        super().__init__(_CODES[refusal], reason)
        self.refusal = refusal
        self.detail = detail


class RepeatedLines:
    """Writes the first of equal log lines, and then at most one per minute with the number of those left out.

    Memory is bounded: of more than 256 kinds of lines the ones longest unused are forgotten.
    """

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._lines: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def write(self, level: int, key: Hashable, text: str) -> None:
        """Writes a line, or counts it if one with the same key was written less than a minute ago."""
        now_s = self._clock.monotonic()
        written_s, left_out = self._lines.pop(key, (-_INTERVAL_S, 0))
        if now_s - written_s < _INTERVAL_S:
            self._lines[key] = written_s, left_out + 1
            return
        more = f" ({left_out} more since the last such line)" if left_out else ""
        self._log.log(level, "%s%s", text, more)
        self._lines[key] = now_s, 0
        while len(self._lines) > _KEYS:
            self._lines.popitem(last=False)


class RefusalLog:
    """Counts refused streams and logs them, one line per kind and sender in a minute."""

    def __init__(self, clock: Clock, on_refused: Callable[[Refusal], None]) -> None:
        self._lines = RepeatedLines(logger, clock)
        self._on_refused = on_refused

    def report(self, refusal: Refusal, account: str, who: str, why: str) -> None:
        """Reports a refused stream.

        Args:
            account: lines about one account are written once a minute.
            who: the sender: address, identity, and the name that it gives itself.
        """
        self._on_refused(refusal)
        self._lines.write(logging.WARNING, (refusal, account), f"refused {who}: {why}")
