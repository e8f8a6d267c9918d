"""A TCP relay on loopback that can cut what goes through it, as a network does: without a word to either side."""

import asyncio
from dataclasses import dataclass

from common.io.addresses import Address


@dataclass(slots=True)
class _Line:
    """One connection through the relay; a dead one stands, and nothing comes out of it."""

    dead: bool


class TcpRelay:
    """Passes every connection on to `target`, from the address `source`; new ones also after a cut."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self.source = "127.0.0.1"
        self._writers: set[asyncio.StreamWriter] = set()
        self._lines: list[_Line] = []
        self._swallows = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Drops all connections and every byte on its way."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def swallow(self) -> None:
        """From now on nothing arrives, while all connections stand, half open; new ones may be made."""
        self._swallows = True
        for line in self._lines:
            line.dead = True

    def restore(self) -> None:
        """New connections work again; those from before stay dead."""
        self._swallows = False

    async def stop(self) -> None:
        """Stops listening and drops all connections."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(
            self._target.host, self._target.port, local_addr=(self.source, 0)
        )
        self._writers |= {writer, there_writer}
        line = _Line(self._swallows)
        self._lines.append(line)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(_pass_on(source, sink, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, line: _Line) -> None:
    try:
        while data := await source.read(65536):
            if not line.dead:
                sink.write(data)
                await sink.drain()
    except OSError:
        pass  # the cut
    finally:
        sink.close()
