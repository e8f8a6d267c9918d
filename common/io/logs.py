"""Log records to stderr, one line each; called by the command lines, never on import."""

import logging
import sys
from dataclasses import dataclass
from typing import Literal

from common.io.configuration import option

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much a daemon says on stderr."""

    log_level: LogLevel = option("info", help="least severe record that is shown")

    def start(self, program: str) -> None:
        """Sends records of `log_level` and above to stderr; a second call replaces the first one's handler."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(f"%(asctime)s {program} %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=self.log_level.upper(), handlers=[handler], force=True)
        logging.captureWarnings(True)
