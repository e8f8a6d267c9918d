"""How senders share the receiver."""

from dataclasses import dataclass

from common.io.options import option


@dataclass(frozen=True, slots=True)
class SharingConfig:
    """How senders share the receiver's computing time."""

    peer_people: int = option(16, help="most people of a frame that are reconstructed, those of the highest scores")
    live_wait_ms: float = option(
        500.0, help="a live frame that has waited longer is not reconstructed if a newer one has arrived, ms"
    )

    def __post_init__(self) -> None:
        if self.peer_people < 1:
            raise ValueError(f"peer-people must be at least 1, got {self.peer_people}")
        if not 0 <= self.live_wait_ms <= 60_000:
            raise ValueError(f"live-wait-ms must lie in 0…60000, got {self.live_wait_ms:g}")
