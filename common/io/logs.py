"""Logging to stderr, one line per record: its set-up, which command lines call, and lines that others can repeat."""

import json
import logging
import sys
from collections import OrderedDict
from collections.abc import Hashable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from common.clock import SYSTEM_CLOCK, Clock
from common.io.config import LogConfig
from common.text import printable

if TYPE_CHECKING:
    from rich.console import Console

SUBJECT: ContextVar[str] = ContextVar("subject", default="")
"""What the records of a task, and of those that it starts, are about, where this is not clear: they begin with it."""

_MAX_MESSAGE_CHARACTERS = 4000
_INTERVAL_S = 60.0
_KEYS = 256


class _PrintableFormatter(logging.Formatter):
    """Escapes what does not print: a record may quote text of the peer, and must not look like another record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message.strip(), _MAX_MESSAGE_CHARACTERS)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """A JSON object on one line: time (ISO 8601, UTC), level, program, logger and message.

    Args:
        program: `sender` or `receiver`.
    """

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": printable(record.getMessage().strip(), _MAX_MESSAGE_CHARACTERS),
        }
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            fields["exception"] = "\n".join(printable(line, _MAX_MESSAGE_CHARACTERS) for line in trace.splitlines())
        return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def _name_subject(record: logging.LogRecord) -> bool:
    """A filter that lets all records through."""
    if subject := SUBJECT.get():
        record.msg, record.args = f"{subject}: {record.getMessage()}", None
    return True


class ConsoleHandler(logging.Handler):
    """Writes records above the status line."""

    def __init__(self, console: "Console") -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print(self.format(record), soft_wrap=True, markup=False, highlight=False, emoji=False)
        except Exception:  # as the handlers of the standard library do
            self.handleError(record)


def start_logging(config: LogConfig, program: str) -> "Console | None":
    """Sends records of the configured level and above to stderr: as text on a terminal, otherwise as JSON.

    A second call replaces the first one's handler.

    Returns:
        stderr, for a status line, if that is a terminal that can move its cursor.
    """
    # rich takes time, and draws from the generator of `random` when it is imported: the library does without.
    from common.io.status_line import DaemonConsole

    console = DaemonConsole(stderr=True, legacy_windows=False)
    interactive = sys.stderr.isatty() and not console.is_dumb_terminal
    handler = ConsoleHandler(console) if interactive else logging.StreamHandler(sys.stderr)
    text_format = f"%(asctime)s {program} %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_PrintableFormatter(text_format) if sys.stderr.isatty() else JsonFormatter(program))
    handler.addFilter(_name_subject)
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    return console if interactive else None


class RepeatedLines:
    """Writes the first of equal log lines, and then at most one per minute with the number of those left out.

    Memory is bounded: of more than 256 kinds of lines the ones longest unused are forgotten.
    """

    def __init__(self, log: logging.Logger, clock: Clock = SYSTEM_CLOCK) -> None:
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
