"""Options of the batches."""

from dataclasses import dataclass

from common.io.options import option


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """How requests of concurrent sessions are batched."""

    batch_people: int = option(8, help="most people that one network pass reconstructs")
    batch_wait_ms: float = option(3.0, help="longest time that a frame waits for frames of other sessions, ms")

    def __post_init__(self) -> None:
        if self.batch_people < 1:
            raise ValueError(f"batch-people must be at least 1, got {self.batch_people}")
        if not 0 <= self.batch_wait_ms <= 1000:
            raise ValueError(f"batch-wait-ms must lie in 0…1000, got {self.batch_wait_ms:g}")
