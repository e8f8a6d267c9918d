"""Fits the label space: the linear transforms between body parameters and label groups.

They are principal axes over sampled training poses (`common.synthetic.motion.poses`), in a metric that weighs a radian
of a joint by the root mean square distance that it moves the skin.  `appearance`, which was fitted to the colours of
rendered people, is copied from the package's label space.

A new label space invalidates every network that reads or writes labels.

Examples:
  python -m common.training.fit_label_space --out /tmp/label_space.safetensors
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.body.anatomy import JOINT_INDEX, LABEL_SPACE_FILE, SHAPE_SIZE
from common.body.label_space import GROUP_JOINTS, group_vector
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.io.command_line import parser_of
from common.labels import GROUP_BY_NAME
from common.synthetic.motion.poses import PoseSampler

_SEED = 7
_POSES = 60_000


def principal_axes(samples: Tensor, metric: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), analysis (D, size) and synthesis (size, D) of the Karhunen-Loève transform of samples (N, D).

    Args:
        metric: (D,) metres that a unit of each coordinate is worth.
    """
    mean = samples.mean(0)
    weighted = ((samples - mean) * metric).double()
    values, vectors = torch.linalg.eigh(weighted.T @ weighted / len(samples))
    axes = vectors.flip(1)[:, :size].float()
    axes = axes * axes.sum(0).sign()
    deviation = values.flip(0)[:size].clamp_min(1e-10).sqrt().float()
    return mean, metric[:, None] * axes / deviation, (axes * deviation).T / metric


def joint_metric(body: BodyModel, name: str) -> Tensor:
    """(D,) metres of skin displacement (root mean square over the body) for a radian of each coordinate of a group."""
    count = 3 * len(GROUP_JOINTS[name]) + (4 if name == "hands" else 0)
    rest = body(BodyParameters.rest()).vertices
    displacement = []
    for coordinate in range(count):
        parameters = BodyParameters.rest()
        if coordinate < 3 * len(GROUP_JOINTS[name]):
            joint = JOINT_INDEX[GROUP_JOINTS[name][coordinate // 3]]
            turn = torch.eye(3)[coordinate % 3] * 0.1
            parameters.rotations[0, joint] = axis_angle_to_matrix(turn)
        else:
            parameters.curl[0, coordinate - 3 * len(GROUP_JOINTS[name])] = 0.1
        displacement.append((body(parameters).vertices - rest).square().sum(-1).mean().sqrt() / 0.1)
    return torch.stack(displacement).clamp_min(1e-4)


def fit_poses(body: BodyModel) -> dict[str, Tensor]:
    """The transforms of the groups of joints, from training poses."""
    poses = PoseSampler("train", seed=_SEED).sample(_POSES)
    rotations = axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors))
    origin = torch.zeros(_POSES, 3)
    parameters = BodyParameters(rotations, torch.from_numpy(poses.curl), torch.zeros(_POSES, SHAPE_SIZE), origin)
    tensors: dict[str, Tensor] = {}
    for name in GROUP_JOINTS:
        samples = group_vector(parameters, name)
        tensors |= _named(name, principal_axes(samples, joint_metric(body, name), GROUP_BY_NAME[name].size))
        print(f"{name:10s} {samples.shape[1]:3d} coordinates → {GROUP_BY_NAME[name].size} entries")
    return tensors


def _named(group: str, parts: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    return {f"{group}.{part}": tensor for part, tensor in zip(("mean", "analysis", "synthesis"), parts, strict=True)}


def main() -> None:
    parser = parser_of("python -m common.training.fit_label_space", __doc__)
    parser.add_argument("--out", type=Path, default=LABEL_SPACE_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    tensors = fit_poses(BodyModel.load())
    tensors |= {name: tensor for name, tensor in load_file(LABEL_SPACE_FILE).items() if name.startswith("appearance.")}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, arguments.out)


if __name__ == "__main__":
    main()
