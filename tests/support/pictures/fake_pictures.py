"""A picture reconstructor without networks, and sample pictures."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from common.body.anatomy import FACIAL_ACTIONS
from common.frames import PersonLabels
from receiver.body.person_scale import PersonScale
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.skinned_glb import PosedBody
from receiver.web.children.pictures import ChildPictures, ReconstructedPicture
from receiver.web.metrics import PICTURE_STAGES
from tests.support.meshes.posed_body import box
from tests.support.receiver.fake_reconstructor import SKELETON, TETRAHEDRON, tetrahedron_of

JPEG = b"jpeg of a texture"
BLOB_BYTES = {"wears": 20, "colours": 7000}
KINDS = {
    **{"hair": "short", "headwear": "none", "sleeve": "long", "layer": "top", "top_fit": "regular"},
    **{"bottom": "trousers", "bottom_fit": "regular", "shoes": "shoes"},
}


def person_at(x: float, y: float, *, textured: bool = False) -> ReconstructedPerson:
    """A coloured box, with a tetrahedron as its body, whose keypoints are all at one place of the picture.

    If it is textured, its scale is known too, and its face, in which all actions are half activated.
    """
    keypoints = np.tile(np.array([x, y, 0.5], np.float32), (17, 1))
    joints = np.tile(np.array([0.1, 0.2, 3.0], np.float32), (17, 1))
    person = tetrahedron_of(PersonLabels(1, 1.0, {}))
    if textured:
        corners = TextureCorners.from_triangles(TETRAHEDRON.faces, np.zeros((4, 3, 2), np.float32))
        face = np.full(len(FACIAL_ACTIONS), 0.5, np.float32)
        body = replace(person.body, texture=MeshTexture(corners, JPEG), activations=face)
        person = replace(person, body=body, scale=PersonScale(1.70004, 0.14, 0.3))
    return replace(person, surface=box(colours=True), keypoints_2d=keypoints, joints_3d=joints)


class FakePictures(ChildPictures):
    """Finds `people` boxes in each picture, at its centre; the last one has a texture.

    `gate` holds the answers back; `error` is raised instead of an answer; `body`, of `skeleton`, is the last one's.
    """

    def __init__(self, people: int = 1) -> None:
        self.people = people
        self.received: list[bytes] = []
        self.prepared = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.body: PosedBody | None = None
        self.skeleton = SKELETON

    async def prepare(self) -> None:
        self.prepared += 1

    async def reconstruct(
        self, picture: bytes, on_stage: Callable[[str], None] = lambda _: None
    ) -> ReconstructedPicture:
        self.received.append(picture)
        width, height = Image.open(io.BytesIO(picture)).size
        for stage in PICTURE_STAGES:
            on_stage(stage)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        last = self.people - 1
        people = tuple(person_at(width / 2, height / 2, textured=number == last) for number in range(self.people))
        if self.body is not None:
            people = (*people[:-1], replace(people[-1], body=self.body))
        return ReconstructedPicture(width, height, people, 51, self.skeleton, {1: KINDS}, {}, {1: BLOB_BYTES})


def picture(
    width: int = 64, height: int = 48, picture_format: str = "JPEG", mode: str = "RGB", **settings: object
) -> bytes:
    """An encoded picture: red on its left, blue on its right."""
    image = Image.new("RGB", (width, height), (250, 10, 10))
    image.paste((10, 10, 250), (width // 2, 0, width, height))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, picture_format, **settings)
    return buffer.getvalue()
