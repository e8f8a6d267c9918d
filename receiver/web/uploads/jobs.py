"""What uploads of all kinds share: who may send one now, and the jobs that they become."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from receiver.web.accounts.store import Account
from receiver.web.config import UploadConfig
from receiver.web.metrics import UploadOutcome
from receiver.web.rate_limits import RateLimits, TriedTooOften
from receiver.web.uploads.errors import UploadRefused

T = TypeVar("T")
Event = Mapping[str, Any]
"""A line of an upload's progress: `stage`, and perhaps how much of it is `done`, 0 to 1."""

# On their way at a time: each picture holds its body in memory.
_ARRIVING, _OF_ACCOUNT = 64, 6
# Of one account; each costs a process that decodes it.
_UPLOADS = "60 per minute"


class Places:
    """Places, `each` for one account or visitor; when half are taken, only those without one get another."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each, self._taken = most, each, Counter[Hashable]()

    def check(self, who: Hashable) -> None:
        """Raises UploadRefused (429) if there is no place."""
        total, own = self._taken.total(), self._taken[who]
        if total >= self._most or own >= (self._each if 2 * total < self._most else 1):
            raise UploadRefused(429, "too many uploads at a time: wait until one has finished", 2.0)

    @contextmanager
    def take(self, who: Hashable) -> Iterator[None]:
        """Takes a place for a block. Raises UploadRefused (429)."""
        self.check(who)
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken -= Counter([who])


class Admission:
    """Admits the uploads of all kinds.

    Args:
        exists: whether an account was not removed.
        models, clips: how many an account keeps.
    """

    def __init__(
        self,
        config: UploadConfig,
        exists: Callable[[Account], Awaitable[bool]],
        models: Callable[[Account], Awaitable[int]],
        clips: Callable[[Account], int],
    ) -> None:
        self.most = config.account_models
        self._exists, self.models, self.clips = exists, models, clips
        self._rates = RateLimits(_UPLOADS)
        self._arriving = Places(_ARRIVING, _OF_ACCOUNT)

    @asynccontextmanager
    async def admit(self, account: Account, work: Places) -> AsyncIterator[None]:
        """Admits a body until the block ends, if there is a place to work on it.

        Raises:
            UploadRefused: 409 the account keeps too much, 429 too many uploads.
        """
        try:
            self._rates.take(str(account.id))
        except TriedTooOften as error:
            raise UploadRefused(
                429, f"too many uploads: try again in {math.ceil(error.wait_s)} s", error.wait_s
            ) from error
        work.check(account)
        with self._arriving.take(account):
            await self.check(account)
            yield

    async def check(self, account: Account) -> None:
        """Raises UploadRefused (409) if an account keeps as much as it may, or was removed."""
        if not await self._exists(account):
            raise UploadRefused(409, "the account was removed")
        if await self.models(account) + self.clips(account) >= self.most:
            raise self.full()

    def full(self) -> UploadRefused:
        """What an account is told that keeps as much as it may."""
        return UploadRefused(409, f"the account keeps {self.most} models and clips: delete one first")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """An upload in work, to its result or `UploadRefused`."""

    result: asyncio.Task[T]
    progress: asyncio.Queue[Event | None]

    async def finished(self) -> T:
        """Waits for the result; a caller that is cancelled does not stop it.

        Raises:
            UploadRefused: the upload cannot be used, or the receiver is stopping.
            OutputError: the result cannot be stored.
        """
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError as error:
            if not self.result.cancelled():
                raise
            raise UploadRefused(503, "the receiver is stopping: try again later", 10.0) from error

    async def events(self) -> AsyncIterator[Event]:
        """The stages as they begin and go on."""
        while (event := await self.progress.get()) is not None:
            yield event


class StageTimer:
    """Passes the stages of a job on, and times each until the next begins.

    Args:
        on_end: is called with each stage that has ended, and its seconds.
    """

    def __init__(self, progress: asyncio.Queue[Event | None], on_end: Callable[[str, float], None]) -> None:
        self._progress, self._on_end = progress, on_end
        self._stage, self._percent = "", 0
        self._began_s = self._stage_began_s = time.perf_counter()

    def begin(self, stage: str) -> None:
        """A stage begins, or with an empty name the last one ends."""
        now_s = time.perf_counter()
        if self._stage:
            self._on_end(self._stage, now_s - self._stage_began_s)
        self._stage, self._stage_began_s = stage, now_s
        if stage:
            self._percent = 0
            self._progress.put_nowait({"stage": stage})

    def done(self, share: float) -> None:
        """So much of the stage is done, 0 to 1."""
        percent = int(100 * min(share, 1.0))
        if percent > self._percent:
            self._percent = percent
            self._progress.put_nowait({"stage": self._stage, "done": percent / 100})

    def end(self) -> float:
        """The job has ended; returns the seconds that it took."""
        self.begin("")
        return self._stage_began_s - self._began_s


class Jobs(Generic[T]):
    """The uploads of one kind that are in work.

    Args:
        on_end: is called with each job's error, or None, and its seconds.
        on_stage_end: with each stage that has ended, and its seconds.
    """

    def __init__(
        self,
        on_end: Callable[[BaseException | None, float], None],
        on_stage_end: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        self._on_end, self._on_stage_end = on_end, on_stage_end
        self._tasks: set[asyncio.Task[T]] = set()

    def start(self, place: ExitStack, work: Callable[[StageTimer], Coroutine[Any, Any, T]]) -> Job[T]:
        """Begins a job; what `place` has goes at its end."""
        kept = place.pop_all()
        progress: asyncio.Queue[Event | None] = asyncio.Queue()
        timer = StageTimer(progress, self._on_stage_end)
        task = asyncio.create_task(work(timer))
        self._tasks.add(task)

        def done(finished: asyncio.Task[T]) -> None:
            self._tasks.discard(finished)
            kept.close()
            progress.put_nowait(None)
            error = asyncio.CancelledError() if finished.cancelled() else finished.exception()
            self._on_end(error, timer.end())

        task.add_done_callback(done)
        return Job(task, progress)

    async def close(self) -> None:
        """Gives all of them up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def outcome_of(error: BaseException | None) -> UploadOutcome:
    """How metrics name the end of an upload."""
    if error is None:
        return UploadOutcome.STORED
    if isinstance(error, asyncio.CancelledError):
        return UploadOutcome.CANCELLED
    if not isinstance(error, UploadRefused):
        return UploadOutcome.FAILED
    if error.status >= 500:
        return UploadOutcome.UNAVAILABLE
    return UploadOutcome.LIMITED if error.status == 429 else UploadOutcome.REFUSED
