"""Set-up of logging to stderr, one line per record; the command lines call it."""

import logging
import sys
from dataclasses import dataclass
from typing import Literal

from common.io.configuration import option
from common.text import printable

LogLevel = Literal["debug", "info", "warning", "error"]

_MAX_MESSAGE_CHARACTERS = 4000


class _PrintableFormatter(logging.Formatter):
    """Escapes what does not print: a record may quote text of the peer, and must not look like another record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message.strip(), _MAX_MESSAGE_CHARACTERS)
        return super().formatMessage(record)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Log level of a daemon."""

    log_level: LogLevel = option("info", help="lowest level of the records that are shown")

    def start(self, program: str) -> None:
        """Sends records of `log_level` and above to stderr; a second call replaces the first one's handler."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_PrintableFormatter(f"%(asctime)s {program} %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=self.log_level.upper(), handlers=[handler], force=True)
        logging.captureWarnings(True)
