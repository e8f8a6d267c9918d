"""What is the same in every answer of a replica stays there: the triangles of the body and the corners of its texture.

They are a third of an answer without a texture, and more than half of one with a texture.  A front gets them once, with
the facts of the pool, and puts them back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from common.arrays import Int32Array
from receiver.engine.engine import ReconstructedPerson, ReconstructionResult
from receiver.mesh.mesh_texture import TextureCorners
from receiver.mesh.skinned_glb import PosedBody

_NO_FACES = np.empty((0, 3), np.int32)
_NO_CORNERS = TextureCorners(np.empty(0, np.int64), np.empty((0, 2), np.float32), _NO_FACES)


@dataclass(frozen=True, slots=True, eq=False)
class BodyTopology:
    """What all posed bodies of a reconstructor have in common: triangles (F, 3), and corners of their textures."""

    faces: Int32Array
    corners: TextureCorners

    def removed_from(self, result: ReconstructionResult) -> ReconstructionResult:
        """An answer without the topology; bodies that have another one keep it."""
        return _with_bodies(result, self._without)

    def restored_to(self, result: ReconstructionResult) -> ReconstructionResult:
        """The answer that `removed_from` got."""
        return _with_bodies(result, self._whole)

    def _without(self, body: PosedBody) -> PosedBody:
        if body.mesh.faces is self.faces:
            body = replace(body, mesh=replace(body.mesh, faces=_NO_FACES))
        if body.texture is not None and body.texture.corners is self.corners:
            body = replace(body, texture=replace(body.texture, corners=_NO_CORNERS))
        return body

    def _whole(self, body: PosedBody) -> PosedBody:
        if not len(body.mesh.faces):
            body = replace(body, mesh=replace(body.mesh, faces=self.faces))
        if body.texture is not None and not len(body.texture.corners.faces):
            body = replace(body, texture=replace(body.texture, corners=self.corners))
        return body


def _with_bodies(result: ReconstructionResult, change: Callable[[PosedBody], PosedBody]) -> ReconstructionResult:
    def changed(person: ReconstructedPerson) -> ReconstructedPerson:
        return replace(person, body=change(person.body))

    return replace(result, people=tuple(map(changed, result.people)))
