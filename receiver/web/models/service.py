"""Uploaded pictures become models: check, reconstruct, store."""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from common.clock import Clock
from common.errors import UsageError
from receiver.engine.engine import ReconstructedPerson
from receiver.export.editing import Edits
from receiver.mesh.mesh_files import MESH_FORMATS, encode_mesh
from receiver.mesh.skinned_glb import encode_body
from receiver.outfits.mixture import Kinds
from receiver.publish.frame_record import pose_as_dict
from receiver.surface.carried_texture import carried_texture
from receiver.web.accounts.store import Account
from receiver.web.accounts.throttle import KeyedRates
from receiver.web.config import UploadConfig
from receiver.web.database.database import Database
from receiver.web.database.tables import ModelRow
from receiver.web.metrics import FILES, UploadOutcome, WebMetrics
from receiver.web.models import store
from receiver.web.models.edited import edited_body
from receiver.web.models.files import ModelFiles, new_model_id
from receiver.web.models.picture import CheckedPicture, check_picture
from receiver.web.models.refusals import UploadRefused
from receiver.web.models.removal import remove_account
from receiver.web.models.store import TooManyModels
from receiver.web.pictures import (
    PictureReconstructor,
    PictureRefused,
    PicturesUnavailable,
    ReconstructedPicture,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

# On their way and in work at a time: each holds its body, and then its picture, in memory.
_ARRIVING, _IN_WORK, _OF_ACCOUNT = 64, 16, 6
_EDITED, _EDITED_OF_ACCOUNT = 8, 2
_THREADS = 2
_BURST = 20
_RECONSTRUCTION_S = 120.0
PICTURE = "picture.jpg"
# What an upload has passed through before the stages of `receiver.web.metrics`.
PICTURE_STAGE = "picture"


@dataclass(frozen=True, slots=True)
class Job:
    """A picture that is being reconstructed, also when its client is gone, to a model or `UploadRefused`."""

    result: asyncio.Task[ModelRow]
    stages: asyncio.Queue[str | None]

    async def finished(self) -> ModelRow:
        """Waits for the model; a caller that is cancelled does not stop it.

        Raises:
            UploadRefused: the picture cannot be reconstructed, or the receiver is stopping.
            OutputError: the model cannot be stored.
        """
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError as error:
            if not self.result.cancelled():
                raise
            raise UploadRefused(503, "the receiver is stopping: try again later", 10.0) from error

    async def events(self) -> AsyncIterator[str]:
        """The stages as they begin."""
        while (stage := await self.stages.get()) is not None:
            yield stage


class _StageTimer:
    """Passes the stages of a job on, and times each until the next begins."""

    def __init__(self, on_stage: Callable[[str], None], metrics: WebMetrics) -> None:
        self._on_stage, self._metrics = on_stage, metrics
        self._stage = ""
        self._began_s = self._stage_began_s = time.perf_counter()

    def begin(self, stage: str) -> None:
        """A stage begins, or with an empty name the last one ends."""
        now_s = time.perf_counter()
        if self._stage:
            self._metrics.upload_stage(self._stage, now_s - self._stage_began_s)
        self._stage, self._stage_began_s = stage, now_s
        if stage:
            self._on_stage(stage)

    def end(self) -> float:
        """The job has ended; returns the seconds that it took."""
        self.begin("")
        return self._stage_began_s - self._began_s


class Places:
    """Places for accounts, `each` for one of them; when half are taken, only accounts without one get another."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each, self._taken = most, each, Counter[int]()

    def check(self, account: Account) -> None:
        """Raises UploadRefused (429) if there is no place."""
        total, own = self._taken.total(), self._taken[account.id]
        if total >= self._most or own >= (self._each if 2 * total < self._most else 1):
            raise UploadRefused(429, "too many uploads at a time: wait until one has finished", 2.0)

    @contextmanager
    def take(self, account: Account) -> Iterator[None]:
        """Takes a place for a block. Raises UploadRefused (429)."""
        self.check(account)
        self._taken[account.id] += 1
        try:
            yield
        finally:
            self._taken -= Counter([account.id])


class ModelService:
    """Takes uploads and keeps their models."""

    def __init__(
        self,
        config: UploadConfig,
        database: Database,
        files: ModelFiles,
        pictures: PictureReconstructor,
        clock: Clock,
        metrics: WebMetrics,
    ) -> None:
        self.config, self.metrics = config, metrics
        self._database, self._files, self._pictures, self._clock = database, files, pictures, clock
        self._rates = KeyedRates(config.uploads_per_minute, max(_BURST, round(config.uploads_per_minute)), clock)
        self._arriving, self._in_work = Places(_ARRIVING, _OF_ACCOUNT), Places(_IN_WORK, _OF_ACCOUNT)
        self._edited = Places(_EDITED, _EDITED_OF_ACCOUNT)
        self._jobs: set[asyncio.Task[ModelRow]] = set()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="models")

    async def close(self) -> None:
        """Gives up the pictures in work."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self._threads.shutdown()

    @asynccontextmanager
    async def admit(self, account: Account) -> AsyncIterator[None]:
        """Admits a body until the block ends. Raises UploadRefused: 409 too many models, 429 uploads."""
        wait_s = self._rates.take(str(account.id))
        if wait_s > 0:
            raise UploadRefused(429, f"too many uploads: try again in {math.ceil(wait_s)} s", wait_s)
        self._in_work.check(account)
        with self._arriving.take(account):
            kept = await self._database.read_async(lambda session: store.count_models(session, account))
            if kept >= self.config.account_models:
                raise self._too_many()
            yield

    def work(self, account: Account) -> AbstractContextManager[None]:
        """The place of a picture that has arrived. Raises UploadRefused (429) if there is none."""
        return self._in_work.take(account)

    async def check(self, content: bytes) -> CheckedPicture:
        """Checks a picture in a worker thread; see `check_picture`."""
        began_s = time.perf_counter()
        try:
            picture = await self._in_thread(lambda: check_picture(content, self.config.upload_pixels))
        except MemoryError as error:
            raise UploadRefused(503, "the receiver has too little memory: try again later", 10.0) from error
        return replace(picture, spent_ms=1e3 * (time.perf_counter() - began_s))

    def start(self, account: Account, place: ExitStack, name: str, picture: CheckedPicture) -> Job:
        """Begins to reconstruct a picture; its place is free again at the end."""
        stages: asyncio.Queue[str | None] = asyncio.Queue()
        timer = _StageTimer(stages.put_nowait, self.metrics)
        task = asyncio.create_task(self._reconstruct(account, name, picture, timer.begin))
        self._jobs.add(task)

        def done(finished: asyncio.Task[ModelRow]) -> None:
            self._jobs.discard(finished)
            place.close()
            stages.put_nowait(None)
            if not finished.cancelled():
                self.metrics.upload(_outcome(finished.exception()), timer.end())

        task.add_done_callback(done)
        return Job(task, stages)

    async def models(self, account: Account) -> Sequence[ModelRow]:
        """The account's models, newest first."""
        return await self._database.read_async(lambda session: store.list_models(session, account))

    async def model(self, account: Account, model: str) -> ModelRow | None:
        """A model of the account, or None."""
        return await self._database.read_async(lambda session: store.find_model(session, account, model))

    async def file(self, row: ModelRow, name: str) -> bytes | None:
        """The content of a file of a model, or None."""
        return await asyncio.to_thread(self._files.read, row.id, name)

    async def edited(self, account: Account, row: ModelRow, name: str, edits: Edits) -> bytes | None:
        """A body of a model with changes, or None if there is none.

        Raises:
            UploadRefused: 422 a change is not possible, 429 too many at a time.
        """
        number = next((each for each in range(row.people_count) if body_name(each) == name), None)
        content = await self.file(row, name)
        if number is None or content is None:
            return None
        person = row.people[number]
        with self._edited.take(account):
            try:
                return await self._in_thread(lambda: edited_body(content, person, edits))
            except UsageError as error:
                raise UploadRefused(422, unflagged(error)) from error

    async def remove(self, account: Account, model: str) -> bool:
        """Removes a model with its files; returns whether the account had it."""
        if not await self._database.read_async(lambda session: store.has_model(session, account, model)):
            return False
        await asyncio.to_thread(self._files.prepare_removal, model)
        removed = await self._database.write_async(lambda session: store.remove_model(session, account, model))
        if removed:
            await asyncio.to_thread(self._files.remove, model)
        return removed

    async def remove_account(self, account: Account) -> int:
        """Removes an account with all its models; returns their number. Raises OutputError."""
        return await asyncio.to_thread(remove_account, self._database, self._files, account)

    async def _reconstruct(
        self, account: Account, name: str, picture: CheckedPicture, on_stage: Callable[[str], None]
    ) -> ModelRow:
        result = await self._people(picture, on_stage)
        if not result.people:
            raise UploadRefused(
                422, "nobody was found in the picture: choose one that shows a person from head to feet"
            )
        on_stage(FILES)
        model = self._described(name, picture, result)
        began_s = time.perf_counter()
        files = await self._in_thread(lambda: _encoded(result, picture))
        await self._in_thread(lambda: self._files.write(model.id, files))
        model.stages_ms[FILES] = _milliseconds(1e3 * (time.perf_counter() - began_s))
        await self._publish(account, model)
        return model

    async def _people(self, picture: CheckedPicture, on_stage: Callable[[str], None]) -> ReconstructedPicture:
        try:
            async with asyncio.timeout(_RECONSTRUCTION_S):
                return await self._pictures.reconstruct(picture.content, on_stage)
        except PictureRefused as error:
            raise UploadRefused(422, str(error)) from error
        except PicturesUnavailable as error:
            raise UploadRefused(503, str(error), 5.0) from error
        except TimeoutError as error:
            raise UploadRefused(503, "the picture took too long: try again later", 30.0) from error

    def _described(self, name: str, picture: CheckedPicture, result: ReconstructedPicture) -> ModelRow:
        scale = picture.width / result.width
        return ModelRow(
            id=new_model_id(),
            name=name,
            created_at=self._clock.wall(),
            width=picture.width,
            height=picture.height,
            label_bytes=result.label_bytes,
            people_count=len(result.people),
            people=[_person(person, scale, result.kinds) for person in result.people],
            stages_ms={
                PICTURE_STAGE: _milliseconds(picture.spent_ms),
                **{stage: _milliseconds(spent) for stage, spent in result.stages_ms.items()},
            },
        )

    async def _publish(self, account: Account, model: ModelRow) -> None:
        """Adds the row of a model whose files are written."""
        identifier, most = model.id, self.config.account_models
        try:
            await self._database.write_async(lambda session: store.add_model(session, account, model, most))
        except Exception as error:
            await asyncio.to_thread(self._files.remove, identifier)
            if isinstance(error, TooManyModels):
                raise self._too_many() from error
            raise
        await asyncio.to_thread(self._files.settle, identifier)

    def _too_many(self) -> UploadRefused:
        return UploadRefused(409, f"the account keeps {self.config.account_models} models: delete one first")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def mesh_name(person: int, mesh_format: str) -> str:
    """The file of a person's surface."""
    return f"person-{person}.{mesh_format}"


def body_name(person: int) -> str:
    """The file of a person's textured body."""
    return f"person-{person}.body.glb"


def textured_name(person: int) -> str:
    """The file of a person's surface with its texture."""
    return f"person-{person}.textured.glb"


def _encoded(result: ReconstructedPicture, picture: CheckedPicture) -> dict[str, bytes]:
    files = {PICTURE: picture.shown}
    for number, person in enumerate(result.people):
        for mesh_format in MESH_FORMATS:
            files[mesh_name(number, mesh_format)] = encode_mesh(person.surface, mesh_format)
        if person.body.texture is not None:
            files[body_name(number)] = encode_body(person.body, result.skeleton)
            texture = carried_texture(person.surface, person.body.mesh, person.body.texture)
            files[textured_name(number)] = encode_mesh(person.surface, "glb", texture)
    return files


def unflagged(error: UsageError) -> str:
    """What an error of a command says, for somebody who gave no flags."""
    return str(error).removeprefix("--")


def _person(person: ReconstructedPerson, scale: float, kinds: Mapping[int, Kinds]) -> dict[str, Any]:
    """What the row of a model keeps; keypoints in pixels of the picture as it was uploaded."""
    keypoints = person.keypoints_2d * np.array([scale, scale, 1.0], np.float32)
    identity = person.labels.identity
    return {
        **pose_as_dict(keypoints, person.joints_3d),
        "textured_body": person.body.texture is not None,
        "textured_surface": person.body.texture is not None,
        "identity": identity,
        "wears": dict(kinds.get(identity, {})),
    }


def _milliseconds(value: float) -> float:
    return round(float(value), 3) if math.isfinite(value) else 0.0


def _outcome(error: BaseException | None) -> UploadOutcome:
    """How metrics name the end of a job."""
    if error is None:
        return UploadOutcome.STORED
    return error.outcome if isinstance(error, UploadRefused) else UploadOutcome.FAILED
