"""The way of every upload: admitted, received, checked, worked on, and answered.

request ─ account and place ─ form ─ check in a limited process ─ job ─→ result, or lines of JSON as it goes on
"""

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from common.errors import OutputError
from common.io.addresses import address_key
from common.io.tasks import cancel
from receiver.web.accounts.store import Account
from receiver.web.metrics import UploadOutcome
from receiver.web.places import Places
from receiver.web.refused import Refused
from receiver.web.serving.pace import LEAST_BYTES_PER_S
from receiver.web.uploads.admission import Admission
from receiver.web.uploads.form import UploadForm, read_form

logger = logging.getLogger(__name__)

T = TypeVar("T")

CROWDED_BYTES_PER_S = 64_000
"""While many uploads arrive: of a thin DSL line."""
_NDJSON = "application/x-ndjson"
_PROGRESS = {
    "description": f"With `Accept: {_NDJSON}`: one JSON object a line, `stage`, then `done` or `error`.",
    "content": {_NDJSON: {"schema": {"type": "string"}}},
}


def upload_route(field: str, described: str, shown: type[Any]) -> dict[str, Any]:
    """What the OpenAPI document says of a route that takes a form with one file."""
    properties = {field: {"type": "string", "format": "binary", "description": described}}
    schema = {"type": "object", "required": [field], "properties": properties, "additionalProperties": False}
    return {
        "status_code": 201,
        "response_model": shown,
        "responses": {200: _PROGRESS},
        "openapi_extra": {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}},
    }


class Progress:
    """Passes the stages of a job on, and times each until the next begins.

    Args:
        on_end: is called with each stage that has ended, and its seconds.
    """

    def __init__(self, on_end: Callable[[str, float], None]) -> None:
        self.events: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        """Lines of the answer: a `stage`, and perhaps how much of it is `done`, 0 to 1; None at the end."""
        self.spent_ms: dict[str, float] = {}
        """Milliseconds of each stage that has ended."""
        self._on_end = on_end
        self._stage, self._percent = "", 0
        self._began_s = self._stage_began_s = time.perf_counter()

    def begin(self, stage: str) -> None:
        """A stage begins, or with an empty name the last one ends."""
        now_s = time.perf_counter()
        if self._stage:
            self.spent_ms[self._stage] = round(1e3 * (now_s - self._stage_began_s), 3)
            self._on_end(self._stage, now_s - self._stage_began_s)
        self._stage, self._stage_began_s = stage, now_s
        if stage:
            self._percent = 0
            self.events.put_nowait({"stage": stage})

    def done(self, share: float) -> None:
        """So much of the stage is done, 0 to 1."""
        percent = int(100 * min(share, 1.0))
        if percent > self._percent:
            self._percent = percent
            self.events.put_nowait({"stage": self._stage, "done": percent / 100})

    def end(self) -> float:
        """The job has ended; returns the seconds that it took."""
        self.begin("")
        self.events.put_nowait(None)
        return self._stage_began_s - self._began_s


Work = Callable[[Progress], Coroutine[Any, Any, T]]


@dataclass(frozen=True, slots=True)
class _Job(Generic[T]):
    """An upload in work, to its result or `Refused`."""

    result: asyncio.Task[T]
    progress: Progress

    async def finished(self) -> T:
        """Waits for the result; a caller that is cancelled does not stop it. Raises Refused or OutputError."""
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError as error:
            if not self.result.cancelled():
                raise
            raise Refused(503, "the receiver is stopping: try again later", 10.0) from error

    async def lines(self, shown: Callable[[T], Mapping[str, Any]]) -> AsyncIterator[str]:
        """The progress, and the result or error, as lines of JSON."""
        while (event := await self.progress.events.get()) is not None:
            yield _line({"event": "stage", **event})
        try:
            result = await self.finished()
        except Refused as error:
            yield _line({"event": "error", "status": error.status, "detail": error.detail})
        except OutputError as error:
            logger.error("%s", error)
            yield _line({"event": "error", "status": 503, "detail": "it could not be stored: try again later"})
        else:
            yield _line({"event": "done", **shown(result)})

    def cancel_when_left(self, request: Request) -> None:
        """Cancels the work when its client ends the connection."""

        async def until_left() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.result.cancel()

        leaving = asyncio.create_task(until_left(), name="client of an upload")
        self.result.add_done_callback(lambda _: leaving.cancel())


class Uploads(ABC, Generic[T]):
    """Takes uploads of one kind.

    Args:
        places: of uploads that arrive or are in work.
        count: is called with what became of each upload, and its seconds.
        on_stage_end: with each stage that has ended, and its seconds.
    """

    def __init__(
        self,
        form: UploadForm,
        places: Places,
        admission: Admission,
        count: Callable[[UploadOutcome, float], None],
        on_stage_end: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        self.form, self.admission = form, admission
        self._places, self._count, self._on_stage_end = places, count, on_stage_end
        self._tasks: set[asyncio.Task[T]] = set()
        self._arriving = 0

    async def admit(self, account: Account) -> None:
        """Says whether an account may send a body now. Raises Refused: 409 it keeps too much, 429 too many uploads."""
        await self.admission.admit(account)

    @abstractmethod
    async def check(self, account: Account, file: UploadFile, kept: ExitStack) -> Work[T]:
        """Checks a file; returns the work on it, at the end of which `kept` is closed. Raises Refused."""

    async def answer(
        self,
        request: Request,
        account: Account,
        shown: Callable[[T], Mapping[str, Any]],
        location: Callable[[T], str],
        *,
        cancels: bool = False,
    ) -> Response:
        """The answer to an upload, when the work has ended or line by line as it goes on.

        Args:
            shown: the result by its name, as JSON.
            location: path of the result.
            cancels: whether a client that leaves gives its upload up.

        Raises:
            Refused: it cannot be used.
            OutputError: its result cannot be stored.
        """
        job = await self._begun(request, account)
        if cancels:
            job.cancel_when_left(request)
        if _NDJSON in request.headers.get("accept", ""):
            return StreamingResponse(job.lines(shown), media_type=_NDJSON)
        result = await job.finished()
        (described,) = shown(result).values()
        return JSONResponse(described, 201, {"Location": location(result)})

    async def close(self) -> None:
        """Gives up the uploads in work."""
        await cancel(self._tasks)

    async def _begun(self, request: Request, account: Account) -> _Job[T]:
        began_s = time.perf_counter()
        try:
            with ExitStack() as kept:
                await self.admit(account)
                host = address_key(request.client and request.client.host)
                kept.enter_context(self._places.take(account, host))
                file = await self._received(request)
                with closing(file.file):
                    return self._start(await self.check(account, file, kept), kept.pop_all())
        except (Refused, ClientDisconnect) as error:
            left = Refused(400, "the connection ended before the file had arrived")
            refused = error if isinstance(error, Refused) else left
            self._count(_outcome(refused), time.perf_counter() - began_s)
            raise refused from error

    async def _received(self, request: Request) -> UploadFile:
        """The file of a request. Raises Refused or ClientDisconnect."""
        self._arriving += 1
        try:
            return await read_form(request, self.form, self._least_rate)
        finally:
            self._arriving -= 1

    def _least_rate(self) -> float:
        """Bytes a second: when uploads that arrive take half of the places, slow ones make room."""
        return CROWDED_BYTES_PER_S if 2 * self._arriving >= self._places.most else LEAST_BYTES_PER_S

    def _start(self, work: Work[T], kept: ExitStack) -> _Job[T]:
        progress = Progress(self._on_stage_end)
        task = asyncio.create_task(work(progress))
        self._tasks.add(task)

        def done(finished: asyncio.Task[T]) -> None:
            self._tasks.discard(finished)
            kept.close()
            error = asyncio.CancelledError() if finished.cancelled() else finished.exception()
            self._count(_outcome(error), progress.end())

        task.add_done_callback(done)
        return _Job(task, progress)


def _outcome(error: BaseException | None) -> UploadOutcome:
    """How metrics name the end of an upload."""
    if error is None:
        return UploadOutcome.STORED
    if isinstance(error, asyncio.CancelledError):
        return UploadOutcome.CANCELLED
    if not isinstance(error, Refused):
        return UploadOutcome.FAILED
    if error.status >= 500:
        return UploadOutcome.UNAVAILABLE
    return UploadOutcome.LIMITED if error.status == 429 else UploadOutcome.REFUSED


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n"
