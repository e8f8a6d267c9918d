"""Options of the link."""

from dataclasses import dataclass

from common.io.addresses import Address
from common.io.options import option
from common.wire.convert import MAX_WINDOW


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where senders connect, and what the receiver tolerates."""

    listen: Address = option(
        Address("127.0.0.1", 50051),
        help="address to listen on; a missing host or port is the default's, port 0 picks a free one",
        bare=True,
    )
    window: int = option(8, help="most unacknowledged frames of a sender")
    rejections: int = option(8, help="number of undecodable frames in a row that ends a stream")
    silence_timeout: float = option(
        1.25,
        help="seconds without a message until a sender is considered gone; its stream ends after ten times as many",
    )
    drain_timeout: float = option(10.0, help="seconds to finish the frames that have arrived when the receiver stops")

    def __post_init__(self) -> None:
        if not 1 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window {self.window} is not between 1 and {MAX_WINDOW}")
        if self.rejections < 1:
            raise ValueError(f"rejections {self.rejections} is below 1")
        if min(self.silence_timeout, self.drain_timeout) <= 0:
            raise ValueError("silence_timeout and drain_timeout must be above 0")
