"""Vertex buffers of the body and of garments."""

from dataclasses import dataclass
from functools import cached_property

import moderngl
import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray
from common.body.triangles import VertexNormals
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import Garment


@dataclass(frozen=True, eq=False)
class Looseness:
    """The offset of loose painted clothes on a body or garment.

    Args:
        offset: (N, 3) on the mean body in the rest pose, metres.
        material: (N,) index into `appearance.MATERIALS`.
    """

    offset: FloatArray
    material: ByteArray


class MeshBuffers:
    """Buffers of a body or a garment: constant attributes are uploaded once, vertices for every image.

    Args:
        image: draws the mesh.
        looseness: computes the offset of loose clothes.
    """

    def __init__(
        self,
        context: moderngl.Context,
        image: moderngl.Program,
        looseness: moderngl.Program,
        shape: Canvas | Garment,
    ) -> None:
        self._faces = shape.faces.astype(np.int32)
        self._normals = VertexNormals(shape.faces, len(shape.rest))
        self._dynamic = context.buffer(reserve=len(shape.rest) * 24, dynamic=True)
        self._index = context.buffer(self._faces.tobytes(), dynamic=True)
        self._all_faces = True
        constant = np.hstack([shape.rest, shape.limb, shape.region[:, None], folds(shape.rest)]).astype(np.float32)
        constants = context.buffer(constant.tobytes())
        self._mesh = context.vertex_array(
            image,
            [
                (self._dynamic, "3f 3f", "position", "normal"),
                (constants, "3f 4f 1f 4f", "rest", "limb", "region", "folds"),
            ],
            index_buffer=self._index,
            index_element_size=4,
        )
        self._offsets = context.buffer(reserve=len(shape.rest) * 8)
        self._looseness = context.vertex_array(looseness, [(constants, "3f 4f 1x4 4f", "rest", "limb", "folds")])
        self._rest = shape.rest
        self._resources = (self._mesh, self._looseness, self._dynamic, self._index, constants, self._offsets)

    def draw(self, vertices: FloatArray, faces: BoolArray | None = None) -> None:
        """Draws the mesh, or only the triangles that `faces` (F,) selects."""
        self._write(vertices)
        if faces is None and self._all_faces:
            self._mesh.render()
            return
        visible = self._faces if faces is None else self._faces[faces]
        self._index.write(visible.tobytes())
        self._all_faces = faces is None
        self._mesh.render(vertices=visible.size)

    def looseness(self) -> Looseness:
        """The offset of loose clothes on the mean body in the rest pose."""
        self._looseness.transform(self._offsets, mode=moderngl.POINTS)
        values = np.frombuffer(self._offsets.read(), np.float32).reshape(-1, 2)
        return Looseness(values[:, :1] * self._rest_normals, np.round(values[:, 1]).astype(np.uint8))

    @cached_property
    def _rest_normals(self) -> FloatArray:
        return self._normals(self._rest)

    def release(self) -> None:
        """Frees the buffers."""
        for resource in self._resources:
            resource.release()

    def _write(self, vertices: FloatArray) -> None:
        attributes = np.hstack([vertices, self._normals(vertices)])
        self._dynamic.write(attributes.astype(np.float32, copy=False).tobytes())


def folds(rest: FloatArray) -> FloatArray:
    """(V, 4) four smooth noise patterns over the body, which modulate the offset of loose cloth."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 14, (4, 3, 6))
    phase = rng.uniform(0, 2 * np.pi, (4, 1, 6))
    return np.asarray(np.sin(rest[None] @ waves + phase).sum(2).T / np.sqrt(3), np.float32)
