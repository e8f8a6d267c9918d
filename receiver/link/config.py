"""Options of the link."""

from dataclasses import dataclass

from common.io.addresses import Address
from common.io.options import option


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where senders connect, and what the receiver tolerates."""

    listen: Address = option(
        Address("127.0.0.1", 50051),
        help="address to listen on; a missing host or port is the default's, port 0 picks a free one",
        bare=True,
    )
    drain_timeout: float = option(10.0, help="seconds to finish the frames that have arrived when the receiver stops")

    def __post_init__(self) -> None:
        if self.drain_timeout <= 0:
            raise ValueError(f"drain_timeout must be above 0, got {self.drain_timeout:g}")
