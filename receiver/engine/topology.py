"""What is the same in every answer of a replica stays there: the triangles of bodies, and the corners of textures.

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
class PeopleTopology:
    """What all people of a reconstructor have in common.

    Args:
        faces: (F, 3) triangles of bodies.
        corners: of textures of bodies.
        surface_faces: (F', 3) triangles of surfaces that are carried.
        surface_corners: of textures of these surfaces.
    """

    faces: Int32Array
    corners: TextureCorners
    surface_faces: Int32Array
    surface_corners: TextureCorners

    def removed_from(self, result: ReconstructionResult) -> ReconstructionResult:
        """An answer without the topology; bodies that have another one keep it."""
        return _changed(result, self._without)

    def restored_to(self, result: ReconstructionResult) -> ReconstructionResult:
        """The answer that `removed_from` got."""
        return _changed(result, self._whole)

    def _without(self, person: ReconstructedPerson) -> ReconstructedPerson:
        corners = _NO_CORNERS if person.surface_corners is self.surface_corners else person.surface_corners
        return replace(person, body=self._body_without(person.body), surface_corners=corners)

    def _whole(self, person: ReconstructedPerson) -> ReconstructedPerson:
        corners = person.surface_corners
        if corners is not None and not len(corners.faces):
            # The arithmetic of another machine may have made other triangles.
            same = np.array_equal(person.surface.faces, self.surface_faces)
            corners = self.surface_corners if same else None
        return replace(person, body=self._whole_body(person.body), surface_corners=corners)

    def _body_without(self, body: PosedBody) -> PosedBody:
        if body.mesh.faces is self.faces:
            body = replace(body, mesh=replace(body.mesh, faces=_NO_FACES))
        if body.texture is not None and body.texture.corners is self.corners:
            body = replace(body, texture=replace(body.texture, corners=_NO_CORNERS))
        return body

    def _whole_body(self, body: PosedBody) -> PosedBody:
        if not len(body.mesh.faces):
            body = replace(body, mesh=replace(body.mesh, faces=self.faces))
        if body.texture is not None and not len(body.texture.corners.faces):
            body = replace(body, texture=replace(body.texture, corners=self.corners))
        return body


def _changed(
    result: ReconstructionResult, change: Callable[[ReconstructedPerson], ReconstructedPerson]
) -> ReconstructionResult:
    return replace(result, people=tuple(map(change, result.people)))
