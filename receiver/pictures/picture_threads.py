"""Threads in which pictures of all sessions are decoded and written."""

import asyncio
from collections.abc import Callable, Hashable

from common.errors import MalformedPacket, OutputError, WeightsError
from common.newest_calls import Call, NewestCalls
from receiver.engine.fair_queue import FairExecutor
from receiver.link.session import Session


class PictureThreads:
    """Calls functions in threads that sessions share fairly; of those of a key that wait, the newest."""

    def __init__(self, threads: FairExecutor) -> None:
        self._threads = threads
        self._calls = NewestCalls()
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, session: Session, key: Hashable, call: Call, refuse: Callable[[Exception], None]) -> bool:
        """Takes a call; returns whether it replaces one that waited. `refuse` gets errors of bytes, files, weights."""

        async def run(newest: Call) -> None:
            try:
                await self._threads.run(session.account, session.session_id, newest)
            except (MalformedPacket, OutputError, WeightsError) as error:
                refuse(error)

        def begin(newest: Call) -> None:
            task = asyncio.ensure_future(run(newest))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return self._calls.put((session.session_id, key), call, begin)

    async def finish(self) -> None:
        """Waits until what was put is done."""
        await asyncio.gather(*self._tasks)
