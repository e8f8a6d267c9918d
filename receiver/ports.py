"""The ports of senders and of the page: taken before networks are loaded.

No sender can connect before the server starts; browsers that connect wait.
"""

from dataclasses import replace
from socket import SOCK_DGRAM, SOCK_STREAM, SocketKind, socket

from common.errors import OutputError
from common.io.addresses import Address, bound_socket
from receiver.config import DEFAULT_PAGE, ListenConfig, WebConfig

BACKLOG = 128
_ATTEMPTS = 8


class LinkPorts:
    """A port of TCP and, with QUIC, the one of UDP of the same number.

    The system chooses a number (port 0) for TCP, and it may be taken for UDP: then it chooses again.

    Attributes:
        address: with the number.

    Raises:
        OutputError: one cannot be used.
    """

    def __init__(self, config: ListenConfig) -> None:
        self._udp: socket | None = None
        attempts = _ATTEMPTS if config.listen.port == 0 else 1
        while True:
            attempts -= 1
            # Before UDP: of another receiver, both are busy, and going without QUIC would be no remedy.
            self._tcp = _bound(config.listen, SOCK_STREAM, "give --listen a free host:port")
            self.address = replace(config.listen, port=int(self._tcp.getsockname()[1]))
            try:
                if config.quic:
                    self._udp = _bound(self.address, SOCK_DGRAM, "give --listen another port, or --no-quic")
                return
            except OutputError:
                self._tcp.close()
                if attempts <= 0:
                    raise

    def take_udp(self) -> socket:
        """Hands the port over, on which packets wait."""
        assert self._udp is not None
        taken, self._udp = self._udp, None
        return taken

    def close(self) -> None:
        """Frees what was not taken; gRPC opens the port of TCP itself. Safe to call twice."""
        self._tcp.close()
        if self._udp is not None:
            self._udp.close()


def page_socket(config: WebConfig) -> socket:
    """The listening socket; the default port may be replaced by a free one. Raises OutputError if it cannot be used."""
    wanted = [config.address] if config.http is not None else [config.address, Address(DEFAULT_PAGE.host, 0)]
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


def _bound(address: Address, kind: SocketKind, remedy: str) -> socket:
    try:
        return bound_socket(address, kind)
    except OSError as error:
        place = f"UDP {address}" if kind == SOCK_DGRAM else str(address)
        raise OutputError(f"cannot listen on {place} ({error.strerror}): {remedy}") from error
