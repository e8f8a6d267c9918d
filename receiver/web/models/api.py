"""HTTP routes of uploads and models."""

import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Annotated, Any, Self
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from common.blobs import BLOB_KINDS, TEXTURE, WEARS
from common.frames import IDENTITIES
from common.wear_kinds import TOGETHER, WearRule
from receiver.export.editing import Edits
from receiver.mesh.formats import FORMATS
from receiver.web.access import Caller, Proofs, accounts_of, holder_of
from receiver.web.accounts.service import Identity
from receiver.web.guards import FILE, Given, SmallBodyRoute, asks_for_head
from receiver.web.models.service import FIELD, PICTURE, MadeModel, body_name, mesh_name, textured_name
from receiver.web.models.store import MODEL_ID, ModelRow
from receiver.web.places import Refused
from receiver.web.site import site_of
from receiver.web.uploads import upload_route

_MEDIA_TYPES = {"jpg": "image/jpeg"} | {name: row.media_type for name, row in FORMATS.items()}
ModelId = Annotated[str, Path(pattern=f"^{MODEL_ID}$", description="of /api/models")]
Words = Annotated[Sequence[str], Query(max_length=8)]
Row = list[float | None]


async def _owner(request: Request, identity: Caller, _proofs: Proofs) -> Identity:
    if identity is None and site_of(request).access.is_owner(request):
        return Identity(await accounts_of(request).machines_account())
    return holder_of(identity)


Owner = Annotated[Identity, Depends(_owner)]
"""Whose models a request is about: an account's, or this machine's user, who needs none; answers 401 to others."""


class PersonShown(BaseModel):
    """One person: paths of the meshes, keypoints and joints.

    Args:
        number: of the person in the model and in the names of the files, from 0.
        textured: the surface with its texture, GLB; null if the person has none.
        body: the body with its texture and skeleton, GLB; null if the person has none.
        usdz: the same for Apple's viewers, standing at the origin; null if the receiver has no usd-core, too.
        wears: the kinds of hair and clothes of the body, which `wear` changes; null if the body cannot be changed.
        unsure: the attributes of `wears` that the picture does not show surely.
        keypoints_2d: 17 × x, y, score; COCO order, pixels of the upright picture.
        joints_3d: 17 × x, y, z; metres, camera space (x right, y down, z forward).
        seen: limb → whether the picture shows it; null in models of older receivers.
        height_m, height_sigma_m: of the bare body, upright, and its standard deviation, metres; null if unknown.
        distance_sigma_m: standard deviation of the distance to the middle of the hips, likewise.
        face, fingers: as in `frames.jsonl`; null where nothing is known of them.
    """

    number: int
    obj: str
    glb: str
    ply: str
    textured: str | None = None
    body: str | None
    usdz: str | None = None
    wears: dict[str, str] | None = None
    unsure: list[str] = []
    keypoints_2d: list[Row]
    joints_3d: list[Row]
    seen: dict[str, bool] | None = None
    height_m: float | None = None
    height_sigma_m: float | None = None
    distance_sigma_m: float | None = None
    face: dict[str, float] | None = None
    fingers: list[Row] | None = None


class BytesSent(BaseModel):
    """What the people of a picture travelled in, without what a link adds: labels, clothes, colours, and all of it."""

    labels: int
    clothes: int
    colours: int
    total: int


class ModelShown(BaseModel):
    """The people of an uploaded picture, most prominent first.

    Args:
        people: those who are in the model.
        hidden: numbers of those whom somebody has taken out: they have no files until they are brought back.
        picture: path of the upright picture, at most 1024 pixels.
        width, height: pixels of the upright picture as it was uploaded.
        bytes: size of the labels alone.
        sent: of everything that the people travelled in, also those who are hidden; null in models of older receivers.
        warnings: what of the file was left out; only in the answer to its upload.
        together: what is worn together, which a change of `wears` keeps to.
    """

    id: str
    name: str
    created_at: datetime
    picture: str
    width: int
    height: int
    people: list[PersonShown]
    hidden: list[int]
    bytes: int
    sent: BytesSent | None
    stages_ms: dict[str, float]
    warnings: list[str] = []
    together: tuple[WearRule, ...] = TOGETHER

    @classmethod
    def from_row(cls, row: ModelRow) -> Self:
        folder = f"/models/{row.id}"
        return cls(
            id=row.id,
            name=row.name,
            created_at=datetime.fromtimestamp(row.created_at, UTC),
            picture=f"{folder}/{PICTURE}",
            width=row.width,
            height=row.height,
            people=[
                PersonShown.model_validate({**person, **_of_files(folder, number, person)})
                for number, person in enumerate(row.people)
                if number not in row.hidden
            ],
            hidden=row.hidden,
            bytes=row.label_bytes,
            sent=_sent(row),
            stages_ms=row.stages_ms,
        )


class PeopleChange(Given):
    """Who is taken out of a model, by number; all others are in it."""

    hidden: list[int] = Field(max_length=IDENTITIES)


class ModelListed(BaseModel):
    """A model in the list; `people` is their number, `bytes` that of the labels alone."""

    id: str
    name: str
    created_at: datetime
    people: int
    bytes: int


class ModelsListed(BaseModel):
    """All models of an account, newest first."""

    models: list[ModelListed]


def models_api() -> APIRouter:
    """The routes `/upload`, `/api/models` and `/models`."""
    api = APIRouter(tags=["models"])
    api.post("/upload", **upload_route(FIELD, "JPEG, PNG, WebP, HEIC, AVIF or GIF", ModelShown))(upload)
    api.get("/api/models")(list_models)
    api.get("/api/models/{model}")(show_model)
    small = APIRouter(route_class=SmallBodyRoute)
    small.patch("/api/models/{model}")(change_model)
    api.include_router(small)
    api.delete("/api/models/{model}", status_code=204)(delete_model)
    api.get("/models/{model}/{file}", **FILE)(get_file)
    return api


async def upload(request: Request, identity: Owner) -> Response:
    """Reconstructs the people of a picture and keeps their meshes.

    The file name is kept to be shown; metadata of the picture are not kept.
    """

    def shown(made: MadeModel) -> dict[str, Any]:
        return {"model": {**ModelShown.from_row(made.row).model_dump(mode="json"), "warnings": made.warnings}}

    models = site_of(request).models
    return await models.answer(request, identity.account, shown, lambda made: f"/api/models/{made.row.id}")


async def list_models(request: Request, identity: Owner) -> ModelsListed:
    """Lists the account's models."""
    models = site_of(request).models
    await models.prepare()
    listed = await models.models(identity.account)
    return ModelsListed(models=[ModelListed.model_validate(dict(row)) for row in listed])


async def show_model(model: ModelId, request: Request, identity: Owner) -> ModelShown:
    """Describes a model."""
    return ModelShown.from_row(await _existing(request, identity, model))


async def change_model(given: PeopleChange, model: ModelId, request: Request, identity: Owner) -> ModelShown:
    """Takes people out of a model, and brings the others back; its files stay."""
    row = await _existing(request, identity, model)
    await site_of(request).models.hide(identity.account, row, given.hidden)
    return await show_model(model, request, identity)


async def _existing(request: Request, identity: Identity, model: str) -> ModelRow:
    found = await site_of(request).models.model(identity.account, model)
    if found is None:
        raise Refused(404, "there is no such model")
    return found


async def delete_model(model: ModelId, request: Request, identity: Owner) -> None:
    """Deletes a model with its files."""
    if not await site_of(request).models.remove(identity.account, model):
        raise Refused(404, "there is no such model")


async def get_file(
    model: ModelId,
    file: Annotated[str, Path(max_length=40, description="person-N.obj …")],
    request: Request,
    identity: Owner,
    wear: Words = (),
    tint: Words = (),
    shape: Words = (),
) -> Response:
    """A mesh or the picture of a model; with changes, a body that has them, and a body as USDZ.

    The changes are those of `receiver export`: `wear=sleeve=short`, `tint=top=%23336699`, `shape=height=%2B5cm`.
    """
    models = site_of(request).models
    row = await models.model(identity.account, model)
    edits = Edits.parse(wear, tint, shape) if wear or tint or shape or file.endswith(".usdz") else None
    only_headers = edits is not None and asks_for_head(request)
    if row is None:
        content = None
    elif only_headers:
        content = await models.file(row, f"{file.removesuffix('.usdz').removesuffix('.glb')}.glb")
    elif edits is not None:
        content = await models.edited(identity.account, row, file, edits)
    else:
        content = await models.file(row, file)
    if row is None or content is None:
        raise Refused(404, "there is no such file")
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(download_name(row.name, file), safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    response = Response(content, media_type=_MEDIA_TYPES[file.rpartition(".")[2]], headers=headers)
    if only_headers:  # the body would have another size
        del response.headers["content-length"]
    return response


def download_name(picture: str, file: str) -> str:
    """What a browser calls a file that it saves: `team.jpg` and `person-0.body.glb` are `team-person-1-body.glb`."""
    stem = PurePath(picture).stem or "model"
    found = re.fullmatch(r"person-(\d+)(?:\.(body|textured))?\.(\w+)", file)
    if found is None:
        return f"{stem}{PurePath(file).suffix}"
    number, kind, suffix = found.groups()
    return f"{stem}-person-{int(number) + 1}{f'-{kind}' if kind else ''}.{suffix}"


def _of_files(folder: str, number: int, person: Mapping[str, Any]) -> dict[str, Any]:
    """A person's number, paths of the meshes, and what can be changed."""
    surfaces: dict[str, Any] = {"number": number} | {
        kind: f"{folder}/{mesh_name(number, kind)}" for kind in ("obj", "glb", "ply")
    }
    if not person.get("textured_body"):
        return {**surfaces, "body": None, "wears": None}
    textured, body = f"{folder}/{textured_name(number)}", f"{folder}/{body_name(number)}"
    usdz = f"{body.removesuffix('.glb')}.usdz" if _has_usd() else None
    return {**surfaces, "textured": textured, "body": body, "usdz": usdz}


def _sent(row: ModelRow) -> BytesSent | None:
    if any("blob_bytes" not in person for person in row.people):
        return None
    blobs = sum((Counter(person["blob_bytes"]) for person in row.people), Counter[str]())
    clothes, colours = (blobs[BLOB_KINDS[kind].purpose] for kind in (WEARS, TEXTURE))
    total = row.label_bytes + clothes + colours
    return BytesSent(labels=row.label_bytes, clothes=clothes, colours=colours, total=total)


@functools.cache
def _has_usd() -> bool:
    return importlib.util.find_spec("pxr") is not None
