"""Fits the space of expressions: the linear transforms between facial actions and `face`, phalanges and `…_fingers`.

They are principal axes about the neutral state, in the metric of the skin that an action or a rotation moves.  Faces
are recordings of Live Link Face, each also mirrored, and single actions; fingers are Rocketbox's animations, and hands
whose fingers are curled independently.

Examples:
  python -m common.training.fit_expression_space --faces faces --fingers motion/rocketbox
"""

import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from common.arrays import Float64Array
from common.body.anatomy import (
    EXPRESSION_SPACE_FILE,
    FACIAL_ACTIONS,
    FINGER_BONES,
    JOINTS,
    MIRRORED_ACTIONS,
    SKELETON,
)
from common.body.expression import EYE_ACTIONS, ExpressionSpace
from common.body.facial_actions import load_facial_actions
from common.body.label_space import curls_of
from common.body.model import BodyModel, BodyParameters, skin
from common.body.rotations import axis_angle_to_matrix
from common.errors import SourceError, exit_code_of
from common.io.command_line import parser_of
from common.labels import GROUP_BY_NAME
from common.synthetic.motion.faces import recorded_faces
from common.synthetic.motion.fingers import PHALANGES, drawn_fingers, recorded_fingers

_SEED: Final = 5
# Rows of single actions, over those that are recorded; and drawn hands, over recorded ones.
_DRAWN_SHARE: Final = 0.5
# An action counts also by its value, as if it moved the skin by so many metres, root mean square over the moved part.
_VALUE_M: Final = 0.002
_PROBE: Final = 0.1
_STRIDE: Final = 6


def faces_of(folder: Path) -> Float64Array:
    """(T, 52) activations of the recordings in a folder, each frame also mirrored. Raises SourceError without one."""
    if not (paths := sorted(folder.glob("*.csv"))):
        raise SourceError(f"no recording of a face (*.csv) in {folder}")
    values = recorded_faces(paths).astype(np.float64)
    return np.concatenate([values, values[:, MIRRORED_ACTIONS]])


def single_actions(count: int, rng: np.random.Generator) -> Float64Array:
    """(N, 52) with one action and its mirror image at a random strength."""
    values = np.zeros((count, len(FACIAL_ACTIONS)))
    action, strength = rng.integers(0, len(FACIAL_ACTIONS), count), rng.uniform(0, 1, count)
    values[np.arange(count), action] = strength
    both = rng.random(count) < 0.5
    values[np.arange(count)[both], np.array(MIRRORED_ACTIONS)[action[both]]] = strength[both]
    return values


def principal_axes(samples: Tensor, metric: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Analysis (D, size) and synthesis (size, D) of samples (N, D) about zero, of unit root mean square.

    Args:
        metric: (D, D) positive definite; the error e of a reconstruction costs e metric eᵀ.
    """
    root = torch.linalg.cholesky(metric.double())
    weighted = samples.double() @ root
    values, vectors = torch.linalg.eigh(weighted.T @ weighted / len(samples))
    axes = vectors.flip(1)[:, :size]
    deviation = values.flip(0)[:size].sqrt()
    synthesis = torch.linalg.solve(root.T, axes * deviation).T
    signs = synthesis.sum(1).sign()
    return (root @ (axes / deviation) * signs).float(), (synthesis * signs[:, None]).float()


def fit_face(folder: Path, body: BodyModel) -> dict[str, Tensor]:
    """The transforms of `face`: the actions of `eyes` do not count."""
    rng = np.random.default_rng(_SEED)
    recorded = faces_of(folder)
    samples = np.concatenate([recorded, single_actions(round(_DRAWN_SHARE * len(recorded)), rng)])
    samples[:, EYE_ACTIONS] = 0
    metric = action_metric(body) + _VALUE_M**2 * torch.eye(len(FACIAL_ACTIONS))
    return _named("face", torch.from_numpy(samples), metric, EYE_ACTIONS)


def action_metric(body: BodyModel) -> Tensor:
    """(52, 52) squared metres, mean over the skin that the actions move, of each at full activation."""
    moved = torch.stack(list(load_facial_actions(len(body.vertex_region)).values())).flatten(1).double()
    vertices = int((moved.abs().sum(0) > 0).sum()) / 3
    return moved @ moved.T / vertices


def fit_fingers(folder: Path, body: BodyModel) -> dict[str, Tensor]:
    """The transforms of the fingers of a left hand, behind its curls."""
    # Neighbours are alike.
    recorded = torch.from_numpy(recorded_fingers(folder, body))[::_STRIDE]
    count = round(_DRAWN_SHARE * len(recorded))
    drawn = torch.from_numpy(drawn_fingers(count, body, np.random.default_rng(_SEED)))
    beyond = beyond_curls(torch.cat([recorded, drawn]), body)
    return _named("left_fingers", beyond, finger_metric(body), [False] * beyond.shape[1])


def beyond_curls(vectors: Tensor, body: BodyModel) -> Tensor:
    """(N, 45) what is left of rotation vectors (N, 15, 3) of a left hand when its curls are taken away."""
    axes = body.curl_axes[:PHALANGES]
    even = curls_of(vectors, axes).index_select(1, body.curl_of_phalanx[:PHALANGES])
    return (vectors - even[..., None] * axes).flatten(1)


def statistics(faces: Path, fingers: Path, tensors: dict[str, Tensor], body: BodyModel) -> Tensor:
    """(3, 32) for the codec, see `load_expression_tensors`; of recordings, 30 frames a second."""
    space = ExpressionSpace(tensors["face.analysis"], tensors["face.synthesis"])
    recorded = torch.from_numpy(faces_of(faces)).float()
    hand = beyond_curls(torch.from_numpy(recorded_fingers(fingers, body)), body) @ tensors["fingers.analysis"]
    rows = [space.encode(recorded), hand, hand]
    sizes, changes = (
        torch.cat([each.abs().mean(0) for each in some]) for some in (rows, [each.diff(dim=0) for each in rows])
    )
    moved = [(space.synthesis, action_metric(body)), *[(tensors["fingers.synthesis"], finger_metric(body))] * 2]
    mm = torch.cat([1e3 * (each.double() @ metric @ each.double().T).diagonal().sqrt() for each, metric in moved])
    return torch.stack([sizes, changes, mm.float()])


def finger_metric(body: BodyModel) -> Tensor:
    """(45, 45) squared metres, mean over the skin of the hand, that a radian of each coordinate moves it by."""
    rest = BodyParameters.rest()
    shape = rest.shape
    vertices, joints = body.rest(shape)
    of_hand = body.weights[:, [SKELETON.index(bone) for bone in FINGER_BONES[:PHALANGES]]].sum(1) > 0
    moved = []
    for coordinate in range(3 * PHALANGES):
        local = torch.eye(3).expand(1, len(SKELETON), 3, 3).clone()
        turn = torch.eye(3)[coordinate % 3] * _PROBE
        local[0, len(JOINTS) + coordinate // 3] = axis_angle_to_matrix(turn)
        positions, rotations = body.chained(local, shape, joints[:, 0])
        posed = skin(vertices, joints, positions, rotations, body.weights)
        moved.append(((posed - vertices)[0, of_hand] / _PROBE).flatten())
    rows = torch.stack(moved).double()
    return rows @ rows.T / int(of_hand.sum()) + 1e-8 * torch.eye(len(rows))


def _named(group: str, samples: Tensor, metric: Tensor, left_out: object) -> dict[str, Tensor]:
    """The transforms of a group, zero in the columns that are left out; prints how much of the samples they keep."""
    kept = ~torch.tensor(left_out)
    size = GROUP_BY_NAME[group].size
    analysis, synthesis = (torch.zeros(len(kept), size), torch.zeros(size, len(kept)))
    inner = metric[kept][:, kept]
    analysis[kept], synthesis[:, kept] = principal_axes(samples[:, kept], inner, size)
    rest = (samples.float() - samples.float() @ analysis @ synthesis)[:, kept].double()
    all_, lost = (torch.einsum("nd,de,ne->", each, inner, each) for each in (samples[:, kept].double(), rest))
    share = 1 - float(lost / all_)
    print(f"{group}: {len(samples)} samples, {size} entries keep {share:.1%} of the squared movement of the skin")
    name = group.removeprefix("left_")
    return {f"{name}.analysis": analysis, f"{name}.synthesis": synthesis}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    program = "python -m common.training.fit_expression_space"
    parser = parser_of(program, __doc__)
    parser.add_argument("--faces", type=Path, required=True, help="folder of recordings of Live Link Face (*.csv)")
    parser.add_argument("--fingers", type=Path, required=True, help="folder of Rocketbox's animations (*.bvh)")
    parser.add_argument("--out", type=Path, default=EXPRESSION_SPACE_FILE, help="file (default: the package's)")
    options = parser.parse_args(arguments)
    return exit_code_of(program, lambda: _fit(options.faces, options.fingers, options.out))


def _fit(faces: Path, fingers: Path, out: Path) -> None:
    body = BodyModel.load()
    tensors = fit_face(faces, body) | fit_fingers(fingers, body)
    tensors["statistics"] = statistics(faces, fingers, tensors, body)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out)


if __name__ == "__main__":
    sys.exit(main())
