"""Options of recording."""

from dataclasses import dataclass
from pathlib import Path

from common.io.options import option


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Recording of what is sent."""

    record: Path | None = option(None, help="record to this file; without --peer nothing is sent")
