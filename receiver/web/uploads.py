"""Uploads: who may, the form with its file, and the answer when it is done.

The way of every upload: admitted, received, checked, worked on, and answered.

request ─ account and place ─ form ─ check in a limited process ─ job ─→ result, or lines of JSON as it goes on
"""

import asyncio
import json
import logging
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from common.errors import OutputError
from common.io.addresses import address_key
from common.io.tasks import cancel
from common.text import printable
from receiver.config import UploadConfig
from receiver.web.accounts.store import Account, account_exists
from receiver.web.database import Database
from receiver.web.guards import LEAST_BYTES_PER_S, paced
from receiver.web.library.service import Library
from receiver.web.metrics import UploadOutcome
from receiver.web.models import store
from receiver.web.places import Places, RateLimits, Refused

# Boundaries and heads of the parts.
_OVERHEAD_BYTES = 16_384
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class UploadForm:
    """What a form has to have.

    Args:
        field: its one field, a file.
        noun: what the file is, for messages.
        max_seconds: within which all of it must have arrived.
    """

    field: str
    noun: str
    max_bytes: int
    max_seconds: float

    def too_large(self) -> Refused:
        """The refusal of a larger file."""
        return Refused(413, f"the {self.noun} is larger than {self.max_bytes / 1e6:g} MB: shrink it")


async def read_form(
    request: Request, form: UploadForm, least_bytes_per_s: Callable[[], float] = lambda: LEAST_BYTES_PER_S
) -> UploadFile:
    """Reads the file of a form, to a temporary file if it is large; close it.

    Args:
        least_bytes_per_s: that the client has to reach now (`receiver.web.guards`).

    Raises:
        Refused: 400 malformed, 408 too slow, 413 too large, 415 without a file.
        ClientDisconnect: the client has left.
        OutputError: there is no room for a temporary file.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        how = f"send the {form.noun} as the field {form.field} of a form: Content-Type: multipart/form-data"
        raise Refused(415, how)
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > form.max_bytes + _OVERHEAD_BYTES:
        raise form.too_large()
    parser = MultiPartParser(
        request.headers, paced(_limited(request, form), least_bytes_per_s), max_files=1, max_fields=0
    )
    try:
        async with asyncio.timeout(form.max_seconds):
            parsed = await parser.parse()
    except MultiPartException as error:
        detail = f"the body is no form with one file as the field {form.field}: {printable(str(error.message), 100)}"
        raise Refused(400, detail) from error
    except TimeoutError as error:
        raise Refused(408, f"the {form.noun} came too slowly: shrink it, or use a faster connection") from error
    except OSError as error:
        where = f"in {tempfile.gettempdir()} ({error.strerror}): TMPDIR names another folder"
        raise OutputError(f"cannot keep an upload {where}") from error
    file = parsed.get(form.field)
    if not isinstance(file, UploadFile) or not file.size:
        await parsed.close()
        raise Refused(415, f"the form has no {form.noun}: send one as the field {form.field}")
    if file.size > form.max_bytes:
        await file.close()
        raise form.too_large()
    return file


async def _limited(request: Request, form: UploadForm) -> AsyncGenerator[bytes, None]:
    """The body. Raises Refused as soon as it is too large."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > form.max_bytes + _OVERHEAD_BYTES:
            raise form.too_large()
        yield chunk


def shown_name(file: UploadFile, noun: str) -> str:
    """The name of a file without folders, to show in a list; it never names a file here."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2].strip()
    return printable(name, _MAX_NAME) if name else noun


# Of one account; each costs a process that decodes it.
_UPLOADS = "60 per minute"


class Admission:
    """Admits the uploads of all kinds."""

    def __init__(self, config: UploadConfig, database: Database, library: Library) -> None:
        self.most = config.account_models
        self._database, self._library = database, library
        self._rates = RateLimits(_UPLOADS, "uploads")

    async def admit(self, account: Account) -> None:
        """Counts an upload. Raises Refused: 409 as `check`, 429 too many in a minute."""
        self._rates.take(str(account.id))
        await self.check(account)

    async def check(self, account: Account) -> None:
        """Raises Refused (409) if an account keeps as much as it may, or was removed."""
        if not await self._database.read_async(account_exists, account):
            raise Refused(409, "the account was removed")
        if not account.is_machines and await self.models(account) + self.clips(account) >= self.most:
            raise self.full()

    async def models(self, account: Account) -> int:
        """How many models an account keeps."""
        return await self._database.read_async(store.count_models, account)

    def clips(self, account: Account) -> int:
        """How many sessions of clips an account keeps."""
        return len(self._library.clips_of(account.name))

    def full(self) -> Refused:
        """The answer to an account that keeps as much as it may."""
        return Refused(409, f"the account keeps {self.most} models and clips: delete one first")


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
                self._arriving += 1
                try:
                    file = await read_form(request, self.form, self._least_rate)
                finally:
                    self._arriving -= 1
                with closing(file.file):
                    return self._start(await self.check(account, file, kept), kept.pop_all())
        except (Refused, ClientDisconnect) as error:
            left = Refused(400, "the connection ended before the file had arrived")
            refused = error if isinstance(error, Refused) else left
            self._count(_outcome(refused), time.perf_counter() - began_s)
            raise refused from error

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
