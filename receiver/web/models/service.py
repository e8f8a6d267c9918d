"""Uploaded pictures become models: check, reconstruct, store."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import numpy as np
from starlette.datastructures import UploadFile

from common.clock import Clock
from common.errors import UsageError
from receiver.engine.engine import ReconstructedPerson
from receiver.export.editing import Edits
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.mesh_files import encode_mesh
from receiver.mesh.skinned_glb import encode_body
from receiver.outfits.mixture import Kinds
from receiver.publish.frame_record import pose_as_dict, scale_as_dict
from receiver.surface.carried_texture import carried_texture
from receiver.web.accounts.store import Account
from receiver.web.config import UploadConfig
from receiver.web.database.database import Database
from receiver.web.database.tables import ModelRow
from receiver.web.metrics import FILES, WebMetrics
from receiver.web.models import store
from receiver.web.models.body_editing import edited_body
from receiver.web.models.files import ModelFiles, new_model_id
from receiver.web.models.store import TooManyModels
from receiver.web.pictures import (
    PictureReconstructor,
    PictureRefused,
    PicturesUnavailable,
    ReconstructedPicture,
)
from receiver.web.uploads.decoder import DecodedPicture, decode_picture
from receiver.web.uploads.errors import UploadRefused
from receiver.web.uploads.form import UploadForm, shown_name
from receiver.web.uploads.jobs import Admission, Job, Jobs, Places, outcome_of

T = TypeVar("T")

FIELD = "image"
# In work at a time: each holds its picture in memory.
_IN_WORK, _OF_ACCOUNT = 16, 6
_EDITED, _EDITED_OF_ACCOUNT = 8, 2
_THREADS = 2
# Within which a body must have arrived.
_UPLOAD_S = 60.0
PICTURE = "picture.jpg"
# What an upload has passed through before the stages of `receiver.web.metrics`.
PICTURE_STAGE = "picture"


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
        admission: Admission,
    ) -> None:
        self.form = UploadForm(FIELD, "picture", config.upload_bytes, _UPLOAD_S)
        self._metrics, self._admission = metrics, admission
        self._database, self.files, self._pictures, self._clock = database, files, pictures, clock
        self._in_work = Places(_IN_WORK, _OF_ACCOUNT)
        self._edited = Places(_EDITED, _EDITED_OF_ACCOUNT)
        self._jobs = Jobs[ModelRow](self.ended, metrics.upload_stage)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="models")

    async def close(self) -> None:
        """Gives up the pictures in work."""
        await self._jobs.close()
        self._threads.shutdown()

    @asynccontextmanager
    async def admit(self, account: Account) -> AsyncIterator[None]:
        """Admits a body until the block ends. Raises UploadRefused: 409 the account keeps too much, 429 uploads."""
        async with self._admission.admit(account, self._in_work):
            await self.prepare()
            yield

    async def begin(self, account: Account, place: ExitStack, file: UploadFile) -> Job[ModelRow]:
        """Decodes a picture, and begins to reconstruct it; its place is free again at the end. Raises UploadRefused."""
        place.enter_context(self._in_work.take(account))
        name, content, began_s = shown_name(file, self.form.noun), await file.read(), time.perf_counter()
        picture = await self._in_thread(lambda: decode_picture(content))
        decoded_ms = 1e3 * (time.perf_counter() - began_s)
        return self._jobs.start(place, lambda timer: self._reconstruct(account, name, picture, decoded_ms, timer.begin))

    def ended(self, error: BaseException | None, seconds: float) -> None:
        """An upload has ended, perhaps with an error."""
        self._metrics.upload(outcome_of(error), seconds)

    async def prepare(self) -> None:
        """Somebody is about to upload a picture: the sender process takes seconds to start."""
        with suppress(PicturesUnavailable):  # the picture will say so
            await self._pictures.prepare()

    async def models(self, account: Account) -> Sequence[ModelRow]:
        """The account's models, newest first."""
        return await self._database.read_async(lambda session: store.list_models(session, account))

    async def model(self, account: Account, model: str) -> ModelRow | None:
        """A model of the account, or None."""
        return await self._database.read_async(lambda session: store.find_model(session, account, model))

    async def file(self, row: ModelRow, name: str) -> bytes | None:
        """The content of a file of a model, or None."""
        return await asyncio.to_thread(self.files.read, row.id, name)

    async def edited(self, account: Account, row: ModelRow, name: str, edits: Edits) -> bytes | None:
        """A body of a model with changes, as GLB or USDZ, or None if there is none.

        Raises:
            UploadRefused: 422 a change is not possible, 429 too many at a time.
        """
        stem, _, ending = name.rpartition(".")
        number = next((each for each in range(row.people_count) if body_name(each) == f"{stem}.glb"), None)
        content = None if number is None or ending not in ("glb", "usdz") else await self.file(row, f"{stem}.glb")
        if number is None or content is None:
            return None
        person = row.people[number]
        with self._edited.take(account):
            try:
                return await self._in_thread(lambda: edited_body(content, person, edits, ending))
            except UsageError as error:
                raise UploadRefused(422, unflagged(error)) from error

    async def remove(self, account: Account, model: str) -> bool:
        """Removes a model with its files; returns whether the account had it."""
        if not await self._database.read_async(lambda session: store.has_model(session, account, model)):
            return False
        await asyncio.to_thread(self.files.prepare_removal, model)
        removed = await self._database.write_async(lambda session: store.remove_model(session, account, model))
        if removed:
            await asyncio.to_thread(self.files.remove, model)
        return removed

    async def _reconstruct(
        self,
        account: Account,
        name: str,
        picture: DecodedPicture,
        decoded_ms: float,
        on_stage: Callable[[str], None],
    ) -> ModelRow:
        result = await self._people(picture, on_stage)
        if not result.people:
            raise UploadRefused(
                422, "nobody was found in the picture: choose one that shows a person from head to feet"
            )
        on_stage(FILES)
        model = self._described(name, picture, result)
        model.stages_ms = {PICTURE_STAGE: _milliseconds(decoded_ms), **model.stages_ms}
        began_s = time.perf_counter()
        files = await self._in_thread(lambda: _encoded(result, picture))
        await self._in_thread(lambda: self.files.write(model.id, files))
        model.stages_ms[FILES] = _milliseconds(1e3 * (time.perf_counter() - began_s))
        await self._publish(account, model)
        return model

    async def _people(self, picture: DecodedPicture, on_stage: Callable[[str], None]) -> ReconstructedPicture:
        try:
            return await self._pictures.reconstruct(picture.content, on_stage)
        except PictureRefused as error:
            raise UploadRefused(422, str(error)) from error
        except PicturesUnavailable as error:
            raise UploadRefused(503, str(error), 5.0) from error

    def _described(self, name: str, picture: DecodedPicture, result: ReconstructedPicture) -> ModelRow:
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
            stages_ms={stage: _milliseconds(spent) for stage, spent in result.stages_ms.items()},
        )

    async def _publish(self, account: Account, model: ModelRow) -> None:
        """Adds the row of a model whose files are written."""
        identifier = model.id
        most = self._admission.most - self._admission.clips(account)
        try:
            await self._database.write_async(lambda session: store.add_model(session, account, model, most))
        except Exception as error:
            await asyncio.to_thread(self.files.remove, identifier)
            if isinstance(error, TooManyModels):
                raise self._admission.full() from error
            raise
        await asyncio.to_thread(self.files.settle, identifier)

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


def _encoded(result: ReconstructedPicture, picture: DecodedPicture) -> dict[str, bytes]:
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
        **scale_as_dict(person.scale),
        "textured_body": person.body.texture is not None,
        "textured_surface": person.body.texture is not None,
        "identity": identity,
        "wears": dict(kinds.get(identity, {})),
    }


def _milliseconds(value: float) -> float:
    return round(float(value), 3) if math.isfinite(value) else 0.0
