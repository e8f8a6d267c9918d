"""Makes what visitors ask for, in processes beside the receiver: live sessions keep its threads.

    request ─ place ─ turn ─ process (`workshop_process`) ─→ parts, while they are made

A process goes on with the next request, because its libraries take seconds to load, and ends when nobody asks.
"""

import asyncio
import logging
import pickle
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable
from contextlib import aclosing, nullcontext, suppress
from typing import Any

from common.errors import UsageError
from common.text import printable
from receiver.web.children.sender_child import end_process
from receiver.web.children.standby import begun, own_program
from receiver.web.children.workshop_process import END, HEAD, INVALID, PART, REFUSED
from receiver.web.places import Places, Refused

logger = logging.getLogger(__name__)

Work = Callable[..., Iterable[bytes]]

_PROCESS = own_program("receiver.web.children.workshop_process")
_EACH = 2
# One that has edited a body has 0.8 GB.
_IDLE_S = 60.0
_KEPT_BYTES, _BYTES_OF_NOTHING = 64_000_000, 1_000
_MOST_REASON = 300
_FAILED = "the receiver cannot make it: its log says why"
_LEFT_S = 2.0


class Workshop:
    """Makes things in the order in which they are asked for; two of them wait or are made for one visitor.

    Args:
        what: is made, for messages.
        at_once: so many processes.
        waiting: so many things wait or are made.
        longest_s: within which the next part must be made.
    """

    def __init__(self, what: str, *, at_once: int = 1, waiting: int = 8, longest_s: float = 120.0) -> None:
        self._what, self._longest_s = what, longest_s
        self._places, self._turn = Places(waiting, _EACH, what), asyncio.Semaphore(at_once)
        self._idle: list[Process] = []
        self._endings, self._closed = set[asyncio.Future[None]](), False
        self._ending: asyncio.TimerHandle | None = None
        self._kept: OrderedDict[Hashable, bytes | None] = OrderedDict()

    def keeps(self, key: Hashable) -> bool:
        """Whether `made` needs no process for a key."""
        return key in self._kept

    async def made(self, visitor: Hashable | None, key: Hashable | None, work: Work, *arguments: Any) -> bytes | None:
        """What a function of a module makes in a process; None if it yields nothing.

        Args:
            visitor: who asks; None takes no place.
            key: whatever the result depends on, which is kept for a while; None keeps nothing.

        Raises:
            UsageError, ValueError: of the function.
            Refused: 429 too many wait; 503 it has failed.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        parts = [part async for part in self.parts(visitor, work, *arguments)]
        content = b"".join(parts) if parts else None
        if key is not None:
            self._kept[key] = content
            while sum(_BYTES_OF_NOTHING + len(each or b"") for each in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return content

    async def parts(self, visitor: Hashable | None, work: Work, *arguments: Any) -> AsyncGenerator[bytes]:
        """The parts that a function yields, while it yields them; see `made`."""
        with self._places.take(visitor) if visitor is not None else nullcontext():
            async with self._turn, aclosing(self._parts(work, arguments)) as parts:
                async for part in parts:
                    yield part

    async def aclose(self) -> None:
        """Ends all processes."""
        self._closed = True
        if self._ending is not None:
            self._ending.cancel()
        await asyncio.gather(*self._endings, *map(_end, self._idle))
        self._idle.clear()

    async def _parts(self, work: Work, arguments: tuple[Any, ...]) -> AsyncGenerator[bytes]:
        process, kind = await self._process(), PART
        try:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps((work, arguments)))
            await process.stdin.drain()
            while True:
                async with asyncio.timeout(self._longest_s):
                    kind, content = await _message(process)
                if kind != PART:
                    break
                yield content
        except TimeoutError as error:
            raise Refused(503, "it takes too long here: use receiver export on its machine", 10.0) from error
        except (OSError, asyncio.IncompleteReadError) as error:
            logger.error("the process for %s has ended", self._what)
            raise Refused(503, _FAILED, 10.0) from error
        finally:
            if kind == PART or self._closed:
                ending = asyncio.ensure_future(_end(process))
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)
                # Of a request that its visitor has cancelled, nothing can be awaited any more.
                await asyncio.shield(ending)
            else:
                self._wait(process)
        if kind != END:
            raise self._error(kind, content.decode())

    def _error(self, kind: bytes, text: str) -> Exception:
        if kind == REFUSED:
            return UsageError(text)
        if kind == INVALID:
            return ValueError(text)
        logger.error("the process for %s has failed: %s", self._what, printable(text, _MOST_REASON))
        return Refused(503, _FAILED, 10.0)

    async def _process(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        try:
            return await begun(_PROCESS, PIPE, PIPE)
        except OSError as error:
            logger.error("cannot start the process for %s: %s", self._what, error.strerror)
            raise Refused(503, _FAILED, 10.0) from error

    def _wait(self, process: Process) -> None:
        """Lets a process wait for the next request; after a while without any, all that wait end."""
        self._idle.append(process)
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.get_running_loop().call_later(_IDLE_S, self._dismiss)

    def _dismiss(self) -> None:
        while self._idle:
            process = self._idle.pop()
            if process.stdin is not None:
                process.stdin.close()


async def _end(process: Process) -> None:
    await end_process(process)
    # Its pipe is closed when what is left in it has been read.
    assert process.stdout is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(_LEFT_S):
            await process.stdout.read()


async def _message(process: Process) -> tuple[bytes, bytes]:
    """Kind and content of a message of a process. Raises IncompleteReadError if it has ended."""
    assert process.stdout is not None
    kind, size = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
    return kind, await process.stdout.readexactly(size)
