"""A receiver daemon with its page, and those who load it: light senders of recorded labels, and browsers that watch."""

import asyncio
import json
import logging
import math
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from common.body.label_space import LabelSpace
from common.errors import BodywireError
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.io.tasks import cancel
from common.weights.manifest import model_hash
from sender.config import LinkConfig
from sender.link.client import LinkClient
from sender.link.connector import StreamOpener
from sender.link.diagnosis import SecurityConfig
from tests.bench.bytes.rate import demo_truth
from tests.bench.time.daemons import started_receiver
from tests.netlab.programs import FixedRate, new_hello
from tests.support.link.certificate_authority import Authority

# Among those of senders, which `Said` counts.
logger = logging.getLogger("sender.light")

CAMERA = Camera(640, 480, 600.0)
# Of a browser, between frames.
_DRAWN_S = 1 / 30
_CONNECT_S, _RECONNECT_S, _AGAIN_S = 20.0, 5.0, 1.0
# Of the records, for half a minute of a thousand frames a second.
_NEWEST_BYTES = 10_000_000


class Receiver:
    """A receiver with mutual TLS, whose page everybody on this machine may use (`within`: see `Daemon`).

    Raises:
        OutputError: it does not start.
    """

    def __init__(self, folder: Path, *flags: str, within: Sequence[str] = ()) -> None:
        self.out, log = folder / "out", folder / "receiver.log"
        self.authority = Authority.make(folder / "certs")
        certificate, key = self.authority.issue("receiver", "127.0.0.1")
        keys = ("--tls-cert", str(certificate), "--tls-key", str(key), "--tls-ca", str(self.authority.certificate))
        self.daemon, listening, self.page = started_receiver(self.out, log, *keys, *flags, within=within)
        self.peer = Address.parse(listening)

    def sender(self, name: str) -> SecurityConfig:
        """What a sender needs to be admitted under a name."""
        certificate, key = self.authority.issue(name)
        return SecurityConfig(tls_ca=self.authority.certificate, tls_cert=certificate, tls_key=key)


@contextmanager
def receiver(folder: Path, *flags: str, within: Sequence[str] = ()) -> Iterator[Receiver]:
    """A receiver that ends with the block."""
    made = Receiver(folder, *flags, within=within)
    try:
        yield made
    finally:
        made.daemon.end()


@dataclass(eq=False)
class LightSender:
    """Streams recorded labels without camera and networks, session after session.

    Args:
        account: its certificate, which several may share.
        people: in a frame.
        lasts_s: time of a session, after which it is drained and another one begins.
    """

    name: str
    peer: Address
    account: StreamOpener
    recorded: Sequence[PersonLabels]
    fps: float
    people: int = 1
    live: bool = True
    lasts_s: float = float("inf")

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            try:
                await self._session()
            except BodywireError as error:
                logger.warning("%s", error)
                await asyncio.sleep(_AGAIN_S)

    async def _session(self) -> None:
        model = model_hash()
        config = LinkConfig(self.peer, connect_timeout=_CONNECT_S, reconnect_timeout=_RECONNECT_S)
        hello = new_hello(self.name, model, live=self.live)
        link = LinkClient(config, hello, FixedRate(model), transport=self.account)
        try:
            await link.connect()
            due_s = began_s = time.monotonic()
            for sequence in count():
                if due_s > began_s + self.lasts_s:
                    await link.drain()
                    return
                await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
                # Whoever is late leaves frames out: after a pause of all, they would send together ever after.
                due_s += max(1, math.ceil((time.monotonic() - due_s) * self.fps)) / self.fps
                await link.send(LabelFrame(sequence, self.name, time.time(), CAMERA, self._frame(sequence)))
        finally:
            await link.close()

    def _frame(self, sequence: int) -> tuple[PersonLabels, ...]:
        person = self.recorded[sequence % len(self.recorded)]
        return tuple(replace(person, identity=identity) for identity in range(self.people))


def recorded_labels() -> Sequence[PersonLabels]:
    """The person of the demo clip."""
    return demo_truth(LabelSpace.load(), 0).people


async def watch(page: str, shown: Counter[str]) -> None:
    """Watches the page as a browser does, and again where that ends, until cancelled."""
    while True:
        try:
            async with connect(f"ws{page.removeprefix('http')}/live", max_size=None) as socket:
                await socket.send(json.dumps({"type": "watch", "mesh": "surface"}))
                async for message in socket:
                    # The header of a binary message is JSON behind its length.
                    if not isinstance(message, bytes):
                        continue
                    head = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                    if head.get("type") == "frame":
                        shown["frames"] += 1
                        shown["frames with people"] += bool(head["people"])
                        await asyncio.sleep(_DRAWN_S)
                        await socket.send(json.dumps({"type": "shown", "id": head["id"]}))
        except (OSError, WebSocketException) as error:
            logger.warning("%s", error)
        await asyncio.sleep(_AGAIN_S)


class Said(logging.Handler):
    """Counts what senders say about the receiver, in place of their log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.counts = Counter[str]()
        log = logging.getLogger("sender")
        log.handlers, log.propagate = [self], False
        log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[_without_numbers(record.getMessage())] += 1


async def request(page: str, answers: Counter[str], paths: Iterable[str] = repeat("/api/status")) -> None:
    """Asks for one path after the other over one connection, until cancelled or the connection ends."""
    where = urlsplit(page)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    for path in paths:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
        except (OSError, asyncio.IncompleteReadError):
            return
        answers[head.split()[1]] += 1


@asynccontextmanager
async def together(work: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs coroutines beside a block, and cancels them at its end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        await cancel(tasks)


class Records:
    """The frames that a receiver writes, as they come."""

    def __init__(self, out: Path) -> None:
        self._path, self._inode, self._offset, self._newest_s = out / "frames.jsonl", 0, 0, 0.0

    def new(self) -> list[dict[str, Any]]:
        """The records since the last call."""
        found: list[dict[str, Any]] = []
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            inode = self._path.stat().st_ino
            # Where sessions were deleted there is another file, with the lines of the others: most are known, and to
            # read them all would keep the senders of this process waiting.
            replaced, self._inode = inode != self._inode, inode
            begin = max(file.seek(0, os.SEEK_END) - _NEWEST_BYTES, 0) if replaced else self._offset
            file.seek(begin)
            if replaced and begin:
                file.readline()
            for line in file:
                if line.endswith(b"\n"):
                    found.append(json.loads(line))
            self._offset = file.tell() - (0 if not found or line.endswith(b"\n") else len(line))
            if replaced:
                found = [each for each in found if each["captured_at"] > self._newest_s]
        self._newest_s = max([self._newest_s, *(each["captured_at"] for each in found)])
        return found


def _without_numbers(text: str) -> str:
    """A message that is the same for all who get it."""
    return re.sub(r"\d[\d.:]*", "N", text)
