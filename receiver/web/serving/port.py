"""The port of the page, which is taken before networks are loaded; browsers that connect wait."""

import socket

from common.errors import OutputError
from common.io.addresses import Address, bound_socket
from receiver.web.config import DEFAULT_ADDRESS, WebConfig

BACKLOG = 128


def page_socket(config: WebConfig) -> socket.socket:
    """The listening socket; the default port may be replaced by a free one. Raises OutputError if it cannot be used."""
    wanted = [config.address] if config.http is not None else [config.address, Address(DEFAULT_ADDRESS.host, 0)]
    for address in wanted:
        try:
            listener = bound_socket(address)
            try:
                listener.listen(BACKLOG)
                listener.setblocking(False)
            except BaseException:
                listener.close()
                raise
            return listener
        except OSError as error:
            failure = error
    raise OutputError(
        f"cannot serve the page on {config.address} ({failure.strerror}): give --http a free host:port, or --no-page"
    ) from failure
