"""The body of a model as another file: with other clothes, colours or another build, as `receiver export` makes it, and
as USDZ for Apple's viewers.
"""

import asyncio
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from sqlite3 import Row
from typing import Any, NamedTuple, TypeVar

import numpy as np
from starlette.datastructures import UploadFile

from common.clock import Clock
from common.errors import UsageError
from common.frames import unseen_limbs
from receiver.config import UploadConfig
from receiver.engine.engine import ReconstructedPerson
from receiver.export.character import Character
from receiver.export.editing import Edits
from receiver.export.rigging import posed, rig_one
from receiver.export.usd_scene import encode_usdz
from receiver.mesh.body_file import parse_body
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.mesh_files import encode_mesh, to_y_up
from receiver.mesh.skinned_glb import Skeleton, encode_body
from receiver.publish.frame_record import detail_as_dict, finger_rotations, pose_as_dict, scale_as_dict
from receiver.surface.people import carried_texture
from receiver.web.accounts.store import Account
from receiver.web.children.pictures import ChildPictures, ReconstructedPicture
from receiver.web.children.workshop import Workshop
from receiver.web.database import Database
from receiver.web.decoder import DecodedPicture, Decoder
from receiver.web.metrics import FILES, WebMetrics
from receiver.web.models import store
from receiver.web.models.store import ModelFiles, ModelRow, new_model_id
from receiver.web.places import Places, Refused
from receiver.web.uploads import Admission, Progress, UploadForm, Uploads, Work, shown_name


def edited_body(content: bytes, person: Mapping[str, Any], edits: Edits, ending: str = "glb") -> list[bytes]:
    """The one part of a body file with changes, in the same pose.

    Args:
        content: the file of the body as it was sent.
        person: the person's entry in the model's row.
        ending: `glb`, in the place where the person was, or `usdz`, with the feet at the origin: viewers put that on
            the floor of a room.

    Raises:
        UsageError: the body cannot be read, or no body has these changes.
    """
    try:
        body = parse_body(content)
    except ValueError as error:
        raise UsageError("the body of this model cannot be read: upload the picture again") from error
    character = edits.applied(rig_one(person["identity"], body, person["wears"]))
    if ending == "usdz":
        return [encode_usdz([_standing_at_origin(character)])]
    return [encode_body(posed(character), character.skeleton)]


def _standing_at_origin(character: Character) -> Character:
    vertices, motion = to_y_up(posed(character).mesh.vertices), character.motion
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    feet = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    return replace(character, motion=replace(motion, root_positions=motion.root_positions - feet))


T = TypeVar("T")

FIELD = "image"
# In work at a time: each holds its picture in memory.
_IN_WORK, _OF_ACCOUNT = 16, 6
_THREADS = 2
# Within which a body must have arrived.
_UPLOAD_S = 60.0
PICTURE = "picture.jpg"


class MadeModel(NamedTuple):
    """The row of a model, and what the user should know of its picture."""

    row: ModelRow
    warnings: list[str]


class ModelService(Uploads[MadeModel]):
    """Takes uploads and keeps their models."""

    def __init__(
        self,
        config: UploadConfig,
        database: Database,
        files: ModelFiles,
        decoder: Decoder,
        pictures: ChildPictures,
        clock: Clock,
        metrics: WebMetrics,
        admission: Admission,
        workshop: Workshop,
    ) -> None:
        form = UploadForm(FIELD, "picture", config.upload_bytes, _UPLOAD_S)
        super().__init__(form, Places(_IN_WORK, _OF_ACCOUNT), admission, metrics.upload, metrics.upload_stage)
        self._database, self.files, self._pictures, self._clock = database, files, pictures, clock
        self._decoder, self._workshop = decoder, workshop
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="models")

    async def close(self) -> None:
        """Gives up the pictures in work."""
        await super().close()
        self._threads.shutdown()

    async def admit(self, account: Account) -> None:
        """See `Uploads.admit`; the process that recognises people begins to start."""
        await super().admit(account)
        await self.prepare()

    async def check(self, account: Account, file: UploadFile, kept: ExitStack) -> Work[MadeModel]:
        name, content = shown_name(file, self.form.noun), await file.read()
        picture = await self._in_thread(lambda: self._decoder.picture(content))
        return partial(self._reconstruct, account, name, picture)

    async def prepare(self) -> None:
        """Somebody is about to upload a picture: its processes take seconds to start."""
        await asyncio.to_thread(self._decoder.prepare)
        with suppress(Refused):  # the picture will say so
            await self._pictures.prepare()

    async def models(self, account: Account) -> Sequence[Row]:
        """The account's models, newest first, as `store.list_models` has them."""
        return await self._database.read_async(store.list_models, account)

    async def model(self, account: Account, model: str) -> ModelRow | None:
        """A model of the account, or None."""
        return await self._database.read_async(store.find_model, account, model)

    async def file(self, row: ModelRow, name: str) -> bytes | None:
        """The content of a file of a model, or None; of those who are hidden there is none."""
        if any(name.startswith(f"person-{number}.") for number in row.hidden):
            return None
        return await asyncio.to_thread(self.files.read, row.id, name)

    async def edited(self, account: Account, row: ModelRow, name: str, edits: Edits) -> bytes | None:
        """A body of a model with changes, as GLB or USDZ, or None if there is none.

        Raises:
            UsageError: a change is not possible.
            Refused: 429 too many wait, 503 it has failed.
        """
        stem, _, ending = name.rpartition(".")
        number = next((each for each in range(len(row.people)) if body_name(each) == f"{stem}.glb"), None)
        content = None if number is None or ending not in ("glb", "usdz") else await self.file(row, f"{stem}.glb")
        if number is None or content is None:
            return None
        person = row.people[number]
        key = row.id, name, repr(edits)
        return await self._workshop.made((True, account.name), key, edited_body, content, person, edits, ending)

    async def hide(self, account: Account, row: ModelRow, hidden: Collection[int]) -> None:
        """Takes people with these places in the row out of a model; all others are in it. Raises Refused (422)."""
        for number in set(hidden).difference(range(len(row.people))):
            raise Refused(422, f"the model has no person {number}")
        await self._database.write_async(store.hide_people, account, row.id, hidden)

    async def remove(self, account: Account, model: str) -> bool:
        """Removes a model with its files; returns whether the account had it."""
        if await self.model(account, model) is None:
            return False

        def work() -> bool:
            with self.files.removal([model]):
                return self._database.write(store.remove_model, account, model)

        return await asyncio.to_thread(work)

    async def _reconstruct(self, account: Account, name: str, picture: DecodedPicture, progress: Progress) -> MadeModel:
        result = await self._pictures.reconstruct(picture.content, progress.begin)
        if not result.people:
            raise Refused(422, "nobody was found in the picture: choose one that shows a person from head to feet")
        progress.begin(FILES)
        model = self._described(name, picture, result)
        people = list(enumerate(result.people))
        encoded = [partial(_textured, *each, result.skeleton) for each in people] + [
            partial(_meshes, *each) for each in people
        ]
        made = await asyncio.gather(*map(self._in_thread, encoded))
        files = dict(ChainMap({PICTURE: picture.shown}, *made))
        await self._in_thread(lambda: self.files.write(model.id, files))
        progress.begin("")
        model.stages_ms = progress.spent_ms
        await self._publish(account, model)
        return MadeModel(model, picture.warnings)

    def _described(self, name: str, picture: DecodedPicture, result: ReconstructedPicture) -> ModelRow:
        scale = picture.width / result.width
        return ModelRow(
            id=new_model_id(),
            name=name,
            created_at=self._clock.wall(),
            width=picture.width,
            height=picture.height,
            label_bytes=result.label_bytes,
            people=[_person(person, scale, result) for person in result.people],
            stages_ms={},
        )

    async def _publish(self, account: Account, model: ModelRow) -> None:
        """Adds the row of a model whose files are written."""
        most = self.admission.most - self.admission.clips(account)
        earlier = await self.models(account) if account.is_machines else ()
        try:
            if not await self._database.write_async(store.add_model, account, model, most + len(earlier)):
                # It may have been removed meanwhile, which is another reason.
                await self.admission.check(account)
                raise self.admission.full()
        except Exception:
            await asyncio.to_thread(self.files.remove, model.id)
            raise
        await asyncio.to_thread(self.files.settle, model.id)
        for row in earlier:
            await self.remove(account, row["id"])

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


def _meshes(number: int, person: ReconstructedPerson) -> dict[str, bytes]:
    """The files of a person's surface, by their names."""
    return {mesh_name(number, each): encode_mesh(person.surface, each) for each in MESH_FORMATS}


def _textured(number: int, person: ReconstructedPerson, skeleton: Skeleton) -> dict[str, bytes]:
    """The files of a person with a texture, by their names; none without one."""
    if person.body.texture is None:
        return {}
    texture = carried_texture(person.surface, person.body.mesh, person.body.texture)
    textured = encode_mesh(person.surface, "glb", texture)
    return {body_name(number): encode_body(person.body, skeleton), textured_name(number): textured}


def _person(person: ReconstructedPerson, scale: float, result: ReconstructedPicture) -> dict[str, Any]:
    """What the row of a model keeps; keypoints in pixels of the picture as it was uploaded."""
    keypoints = person.keypoints_2d * np.array([scale, scale, 1.0], np.float32)
    identity = person.labels.identity
    return {
        **pose_as_dict(keypoints, person.joints_3d, unseen_limbs(person.labels)),
        **scale_as_dict(person.scale),
        **detail_as_dict(person.body.activations, finger_rotations(person, result.skeleton)),
        "textured_body": person.body.texture is not None,
        "identity": identity,
        "blob_bytes": dict(result.blob_bytes.get(identity, {})),
        "wears": dict(result.kinds.get(identity, {})),
        "unsure": list(result.unsure.get(identity, ())),
    }
