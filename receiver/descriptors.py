"""How many connections strangers may hold: descriptors for the output are kept free, whatever others do.

those of the process = output, database, log, own processes + metrics + senders + page
"""

from dataclasses import dataclass

from common.errors import UsageError
from common.io.startup import raise_descriptor_limit
from common.io.telemetry import MOST_REQUESTS
from receiver.config import ReceiverConfig, most_connections_of

# Meshes, database, logs, uploads and downloads in threads, own processes with their pipes; 30 to 60 are in use.
_KEPT_FREE = 160
# A connection of the page may have a file or two open that it reads.
_OF_PAGE_CONNECTION = 3
_LEAST = 16
MOST_OF_PAGE = 256
"""Connections of the page, where descriptors allow them."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Connections at a time.

    Args:
        descriptors: that the process may have.
        senders: to the port of senders, over TCP; those over QUIC need no descriptors.
        page: to the page.
        enough: whether there are as many as wanted.
    """

    descriptors: int
    senders: int
    page: int
    enough: bool

    @property
    def kept_free_from(self) -> int:
        """Descriptors from this number on are not for connections."""
        return self.descriptors - _KEPT_FREE

    def __str__(self) -> str:
        lack = "" if self.enough else ", fewer than are wanted: raise the hard limit of open files"
        connections = f"{self.senders} connections of senders, {self.page} of the page"
        return f"{self.descriptors} files may be open: {connections}{lack}"


def limits_of(config: ReceiverConfig) -> ConnectionLimits:
    """The limits of a receiver. Raises UsageError if the system lets it open too few files."""
    page = MOST_OF_PAGE if config.web.page else 0
    return connection_limits(raise_descriptor_limit(), most_connections_of(config.security.max_sessions), page)


def connection_limits(descriptors: int, senders: int, page: int) -> ConnectionLimits:
    """As many connections as wanted, or as descriptors allow.

    Args:
        descriptors: how many the process may have.
        senders, page: how many connections are wanted; 0 for none.

    Raises:
        UsageError: there are too few descriptors.
    """
    left = descriptors - _KEPT_FREE - MOST_REQUESTS
    share = min(left / (senders + _OF_PAGE_CONNECTION * page), 1.0)
    limits = ConnectionLimits(descriptors, int(share * senders), int(share * page), share == 1.0)
    if limits.senders < _LEAST or limits.page < min(_LEAST, page):
        raise UsageError(
            f"the system lets this process open {descriptors} files, which is too few: raise its limit with "
            "ulimit -n 4096, LimitNOFILE=4096 in a systemd unit, or --ulimit nofile=4096 of a container"
        )
    return limits
