"""Threads that sessions share fairly: a `FairQueue` before a thread pool."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from receiver.engine.fair_queue import FairQueue

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class FairExecutor:
    """Runs functions in threads; accounts take turns, then the sessions of each account.

    Args:
        threads: how many functions run at a time.
        name: of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._turns: FairQueue[asyncio.Future[None]] = FairQueue()

    async def run(
        self,
        account: Hashable,
        session: Hashable,
        function: Callable[_Parameters, _Result],
        *arguments: _Parameters.args,
        **named: _Parameters.kwargs,
    ) -> _Result:
        """Calls a function in a thread, when it is the session's turn, and returns its result."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.put(account, session, turn)
        self._give_turns()
        try:
            await turn
            return await loop.run_in_executor(self._pool, lambda: function(*arguments, **named))
        finally:
            if turn.cancelled():
                self._turns.remove(account, session, lambda each: each is turn)
            else:
                self._free += 1
                self._give_turns()

    def shutdown(self) -> None:
        """Waits for the functions that run, and ends the threads."""
        self._pool.shutdown()

    def _give_turns(self) -> None:
        while self._free and (turn := self._turns.take()) is not None:
            # A call that is cancelled leaves the queue only when its task resumes.
            if not turn.cancelled():
                self._free -= 1
                turn.set_result(None)
