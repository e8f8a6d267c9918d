"""Both ends of the link over a path: the daemons' own but for gRPC."""

import asyncio
import itertools
from socket import SOCK_DGRAM
from typing import Any

from common.io.addresses import Address, bound_socket
from receiver.link.server import LinkServer
from sender.link.diagnosis import CredentialFiles, SecurityConfig
from tests.support.link.path import Call, End, Path

_PORTS = itertools.count(50_051)


class PathServer(LinkServer):
    """Serves streams of a path; with QUIC, also its packets."""

    def __init__(self, path: Path, *unnamed: Any, **named: Any) -> None:
        super().__init__(*unnamed, **named)
        self._path, self._serving = path, set[asyncio.Task[None]]()
        self._address: Address | None = None

    async def start(self) -> Address:
        """Takes streams; returns the address, whose port is free on this machine if it is one of QUIC."""
        listen, quic = self._config.listen, self._quic
        self._address = address = Address(listen.host, listen.port or next(_PORTS))
        if quic is not None:
            bound = bound_socket(listen, SOCK_DGRAM)
            self._address = address = Address(listen.host, bound.getsockname()[1])
            quic.take(bound)
            await quic.start()
            bound.close()
        self._path.servers[address] = self.begin
        self._path.certificates[address] = dict(self._greeting).get("bodywire-certificate-bin", b"")
        self._expiry = asyncio.create_task(self._lifecycle.expire())
        return address

    def begin(self, end: End, call: Call) -> None:
        """Serves a stream."""
        task = asyncio.get_running_loop().create_task(self._serve_end(end, call))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve_end(self, end: End, call: Call) -> None:
        await self._service.serve(end, call)
        if end.broken is None:
            await end.finish()

    async def stop(self) -> None:
        """See `LinkServer.stop`."""
        if self._address is not None and self._path.servers.get(self._address) == self.begin:
            del self._path.servers[self._address]
        if self._expiry is not None:
            self._expiry.cancel()
        if self._quic is not None:
            self._quic.refuse()
        await self._service.stop(self._config.drain_timeout)
        if self._quic is not None:
            await self._quic.stop()
        await self._lifecycle.close()

    async def kill(self) -> None:
        """Ends as a process that is killed does: the streams are cut off."""
        for task in self._serving:
            task.cancel()
        await asyncio.sleep(0)
        await self._lifecycle.close()


class PathTransport:
    """A `Transport` over a path.

    Attributes:
        files: certificates, which QUIC uses, and token.
        names: of the receivers, which are addresses.
    """

    def __init__(self, path: Path, config: SecurityConfig | None = None) -> None:
        self.files = CredentialFiles(config or SecurityConfig())
        self.names = self
        self._path = path

    async def addresses(self, peer: Address) -> list[Address]:
        """See `Names.addresses`."""
        return [peer]

    async def reachable(self, peer: Address, interval_s: float = 0.0) -> Address:
        """See `Names.reachable`."""
        await self._path.passes(lambda: self._path.up)
        return peer

    async def reach(self, peer: Address) -> End:
        """See `StreamOpener.reach`."""
        await self.reachable(peer)
        encrypted = self.files.credentials(peer) is not None
        return self._path.connect(peer, self.files.token(peer), encrypted=encrypted)

    async def diagnose(self, peer: Address) -> str | None:
        """See `StreamOpener.diagnose`; nothing is found."""
        return None
