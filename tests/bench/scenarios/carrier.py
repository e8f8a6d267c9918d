"""Carries a rival's messages from host 0 to host 1 over TCP.

    message   its head, then what the coder made
    answer    one byte for each message that has arrived, or was delivered; few wait for theirs

A head has the number of the stream, and of the picture, its time of capture, the place of its crop, and the size.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from sender.perception.crop import CropBox
from tests.bench.rivals.coders import Coder
from tests.netlab.hosts import ADDRESSES, TwoHosts

PORT = 50_061
_HEAD = struct.Struct("<BHdhhHI")
_WINDOW = 2
_TIMEOUT_S = 60.0
# At its end a socket forgets what it has not sent.
_DROPPING = struct.pack("ii", 1, 0)


class Item(NamedTuple):
    """A picture, a crop of it, or a mesh made of it.

    Args:
        number: of the picture.
        crop: what is sent or was sent of it.
    """

    number: int
    captured_at: float
    crop: CropBox
    content: Any


class Carrier:
    """Both ends, in threads of this process whose sockets are on the hosts.

    Args:
        deliver: gets at the receiver's end what was decoded.
        queues: whether a message is sent while the one before waits to be delivered.
    """

    def __init__(self, hosts: TwoHosts, deliver: Callable[[Item], None], queues: bool) -> None:
        self._deliver, self._coders, self._queues = deliver, list[Coder](), queues
        address, self._free = (ADDRESSES[1], PORT), threading.Semaphore(_WINDOW if queues else 1)
        listener = hosts.made_on(1, lambda: socket.create_server(address))
        self._near = hosts.made_on(0, lambda: socket.create_connection(address, _TIMEOUT_S))
        self._far, _ = listener.accept()
        listener.close()
        for end in (self._near, self._far):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROPPING)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._receive, self._count_answers)]
        for thread in self._threads:
            thread.start()

    def use(self, coder: Coder) -> None:
        """Begins a new stream."""
        self._coders.append(coder)

    def send(self, choose: Callable[[], Item]) -> None:
        """Sends what is chosen when the window has room for it."""
        self._free.acquire()
        item, stream = choose(), len(self._coders) - 1
        data = self._coders[stream].encode(item.content)
        place = item.crop.left, item.crop.top, item.crop.side
        with contextlib.suppress(OSError):  # it is closed
            self._near.sendall(_HEAD.pack(stream, item.number, item.captured_at, *place, len(data)) + data)

    def close(self) -> None:
        """Ends both ends, and what waits to be sent; a message that has arrived is delivered."""
        for end, ways in ((self._far, socket.SHUT_RD), (self._near, socket.SHUT_RDWR)):
            with contextlib.suppress(OSError):
                end.shutdown(ways)
        for thread in self._threads:
            thread.join()
        self._near.close()
        self._far.close()
        self._free.release()

    def _count_answers(self) -> None:
        with contextlib.suppress(OSError):
            while self._near.recv(1):
                self._free.release()

    def _receive(self) -> None:
        with contextlib.suppress(OSError), self._far.makefile("rb") as messages:
            while len(head := messages.read(_HEAD.size)) == _HEAD.size:
                stream, number, captured_at, left, top, side, size = _HEAD.unpack(head)
                data = messages.read(size)
                if len(data) < size:
                    return
                if self._queues:
                    self._far.sendall(b".")
                content = self._coders[stream].decode(data)
                self._deliver(Item(number, captured_at, CropBox(left, top, side), content))
                if not self._queues:
                    self._far.sendall(b".")
