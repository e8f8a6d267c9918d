"""How a face moves the template at rest: the facial actions, with eyes that turn and teeth behind the lips.

The template's eyes are the linings of the sockets, laid over the eyeballs, and its mouth is a bag without teeth.  Both
follow what they stand for: the eyes the eyeballs of the body model, and of the bag's first loops behind the lips, which
are laid over a row of teeth in each jaw, the upper ones the skull and the lower ones the jaw.  The teeth are behind
closed lips; whose face does not move has none, and the mesh of the bare template.

Shapes: B people, M vertices of the template that move, A = 52 actions.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.anatomy import FACIAL_ACTIONS, LID_LOOPS
from common.body.faces import load_facial_actions
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.body.triangles import vertex_components
from common.weights.devices import to_numpy
from receiver.body.mouth import Teeth, mouth_loops

# An eye turns with its eyeball up to this distance from the centre of the iris, and less and less up to the other.
_TURNING_M, _RIM_M = 0.0062, 0.0145


class FacialMotion(nn.Module):
    """Displaces the template at rest by activations.

    Attributes:
        moved: (M,) the vertices of the template that any action moves.
        actions: (1 + A, M, 3) displacement of each at full activation, camera axes, metres; the first one is that of
            the teeth, which is whole whenever the face moves.
    """

    moved: Tensor
    actions: Tensor

    def __init__(self, body: BodyModel, template: BodyTemplate) -> None:
        super().__init__()
        actions = _actions(body, template)
        moved = np.flatnonzero(actions.any(axis=(0, 2)))
        self.register_buffer("moved", torch.from_numpy(moved), persistent=False)
        self.register_buffer("actions", torch.from_numpy(actions[:, moved]).contiguous(), persistent=False)

    def forward(self, activations: Tensor) -> Tensor:
        """(B, M, 3) displacements at rest by activations (B, A), 0…1; exactly zero where all are zero."""
        teeth = (activations != 0).any(1, keepdim=True).to(activations.dtype)
        displacements: Tensor = torch.cat([teeth, activations], 1) @ self.actions.flatten(1)
        moved: Tensor = displacements.unflatten(1, (-1, 3))
        return moved


def _actions(body: BodyModel, template: BodyTemplate) -> FloatArray:
    """(1 + A, V', 3) as `FacialMotion.actions`, of all vertices."""
    loaded = load_facial_actions(len(body.vertex_region))
    of_model = np.stack([to_numpy(loaded[name]) for name in FACIAL_ACTIONS]).astype(np.float64)
    rest = to_numpy(body.rest_vertices[0]).astype(np.float64)
    actions = np.concatenate([np.zeros((1, len(template), 3)), of_model[:, template.kept]])
    inner = list(_separate_parts(body, template))
    eyeballs = [next(part for part in inner if side * rest[part, 0].mean() > 0.01) for side in (1, -1)]
    tongue = next(part for part in inner if abs(rest[part, 0].mean()) <= 0.01)
    for loops, eyeball in zip(template.place[to_numpy(body.eyes)], eyeballs, strict=True):
        loop = loops[LID_LOOPS:].ravel()
        points = template.rest[loop]
        away_m = np.linalg.norm((points - template.rest[loops[-1]].mean(axis=0))[:, :2], axis=1)
        turning = np.clip((_RIM_M - away_m) / (_RIM_M - _TURNING_M), 0, 1)[:, None]
        actions[1:, loop] = turning * _followed(rest, of_model, eyeball, points)
    teeth = Teeth.from_loops(template, mouth_loops(body, template))
    share, vertices = teeth.shares[:, None], teeth.vertices
    jaw = np.where(teeth.upper[:, None], 0.0, _followed(rest, of_model, tongue, teeth.places))
    actions[0, vertices] = share * (teeth.places - template.rest[vertices])
    actions[1:, vertices] += share * (jaw - actions[1:, vertices])
    return actions.astype(np.float32)


def _separate_parts(body: BodyModel, template: BodyTemplate) -> Iterator[IntArray]:
    """The body model's vertices that the template leaves out, by connected component: eyeballs and tongue."""
    faces = to_numpy(body.faces).astype(np.int32)
    _, component = vertex_components(faces, len(template.place))
    for number in np.unique(component[template.place < 0]):
        yield np.flatnonzero(component == number)


def _followed(
    rest: Float64Array, actions: Float64Array, part: IntArray, points: FloatArray | Float64Array
) -> Float64Array:
    """(A, N, 3) displacements of points (N, 3) that move as a part of the body model, by an affine map an action.

    Args:
        rest, actions: (V, 3) and (A, V, 3) of the body model.
        part: its vertices.
    """
    places = np.column_stack([rest[part], np.ones(len(part))])
    maps = np.linalg.lstsq(places, actions[:, part].swapaxes(0, 1).reshape(len(part), -1), rcond=None)[0]
    moved = np.column_stack([points, np.ones(len(points))]) @ np.asarray(maps, np.float64)
    return np.asarray(moved.reshape(len(points), -1, 3).swapaxes(0, 1))
