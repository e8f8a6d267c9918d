"""A TCP relay on the loopback that fails like a network: without notice to either end."""

import asyncio
from dataclasses import dataclass

from common.io.addresses import Address


@dataclass(slots=True)
class _Connection:
    """One connection through the relay; a dead one stays open and delivers nothing."""

    dead: bool


class TcpRelay:
    """Relays every connection to `target`, from the address `source`; also connections made after a cut.

    Attributes:
        sent_bytes: to the target.
    """

    def __init__(self, target: Address) -> None:
        self._target = target
        self.source, self.sent_bytes = "127.0.0.1", 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: list[_Connection] = []
        self._black_hole = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        """Starts to listen, on a free port by default."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    @property
    def address(self) -> Address:
        """The address on which it listens."""
        return Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Resets all connections; data in flight are lost."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def black_hole(self) -> None:
        """Delivers nothing from now on, while all connections stay half open and new ones are accepted."""
        self._black_hole = True
        for connection in self._connections:
            connection.dead = True

    def restore(self) -> None:
        """Relays new connections again; earlier ones stay dead."""
        self._black_hole = False

    async def stop(self) -> None:
        """Stops listening and resets all connections."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(
                self._target.host, self._target.port, local_addr=(self.source, 0)
            )
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, target_writer}
        connection = _Connection(self._black_hole)
        self._connections.append(connection)
        for source, sink in ((reader, target_writer), (target_reader, writer)):
            task = asyncio.create_task(self._relay(source, sink, connection, forward=source is reader))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, connection: _Connection, *, forward: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                self.sent_bytes += len(data) if forward else 0
                if not connection.dead:
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass  # the cut
        finally:
            sink.close()
