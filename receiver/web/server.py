"""The web server in the receiver's process and event loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from common.errors import OutputError
from common.io.addresses import Address, bound_socket
from receiver.link.auth.config import SecurityConfig
from receiver.web.config import DEFAULT_ADDRESS, WebConfig
from receiver.web.http_protocol import DeadlineProtocol

logger = logging.getLogger(__name__)

# The largest message: a picture of a browser's camera.
_MAX_MESSAGE_BYTES = 512 * 1024
_KEEP_ALIVE_S, _CLOSE_TIMEOUT_S = 15, 2
_BACKLOG = 128


class WebServer:
    """Serves an application; the address is taken on construction, so that a busy port is an error at once.

    Raises:
        OutputError: the address cannot be used.
    """

    def __init__(self, config: WebConfig, security: SecurityConfig) -> None:
        self._security = security
        self._socket = _bind(config)
        host, port = config.address.host, int(self._socket.getsockname()[1])
        self.address = Address(host, port)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def encrypted(self) -> bool:
        """Whether the page is served over TLS."""
        return self._security.tls_cert is not None

    @property
    def url(self) -> str:
        """The page's address for a browser."""
        return f"{'https' if self.encrypted else 'http'}://{self.address}/"

    def start(self, app: ASGIApp) -> None:
        """Begins to serve, in the running event loop."""
        certificate, key = self._security.tls_cert, self._security.tls_key
        config = uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        # What clients do wrong is no matter for the log; failures of the application are logged by `LastResort`.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([self._socket]), name="web server")

    async def stop(self) -> None:
        """Ends all connections and frees the port."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
        self._socket.close()


class _Server(uvicorn.Server):
    """Leaves signals to the receiver."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(config: WebConfig) -> socket.socket:
    """The listening socket; the default port may be replaced by a free one."""
    wanted = [config.address] if config.http is not None else [config.address, Address(DEFAULT_ADDRESS.host, 0)]
    for address in wanted:
        try:
            listener = bound_socket(address)
            try:
                listener.listen(_BACKLOG)
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
