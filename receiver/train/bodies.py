"""Samples posed bodies to train the receiver on.

Every body is posed in its root frame (upright, pelvis at the origin) and written with its labels to shards of .npy
files: labels float32 (n, 104), points int16 (n, 2048, 3) in 0.1 mm, normals int8 (n, 2048, 3), in the point order of
`receiver.decode.geometry_image`.  A second run with the same arguments continues where the first one stopped.

Examples:
  python -m receiver.train.bodies --out bodies --split train --count 200000
  python -m receiver.train.bodies --out bodies --split val --count 1024
  python -m receiver.train.bodies --out bodies --split test --count 1024 --threads 2
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.arrays import FloatArray, IntArray
from common.body.anatomy import SHAPE_SIZE
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.errors import SourceError, exit_code_of
from common.io.command_line import parser_of
from common.synthetic.dataset.split import SEED_RANGES, SPLITS, Split
from common.synthetic.motion.poses import PoseSampler
from receiver.decode.geometry_image import curve_order, pool

SHARD = 4096
POSITION_STEP_M = 1e-4
NORMAL_STEP = 1 / 127


def template_order(body: BodyModel) -> Tensor:
    """(2048,) order of the template's points along the space-filling curve."""
    points, _ = body.surface_points(body.rest(torch.zeros(1, SHAPE_SIZE))[0])
    return torch.from_numpy(curve_order(points[0].double().numpy()))


def sample_people(split: Split, seed: int, count: int) -> BodyParameters:
    """`count` people of a split: sampled poses, and shapes from the standard normal distribution."""
    poses = PoseSampler(split, seed=seed).sample(count)
    shape = torch.randn(count, SHAPE_SIZE, generator=torch.Generator().manual_seed(seed))
    rotations = axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors))
    rest = BodyParameters.rest(count)
    return replace(rest, rotations=rotations, curl=torch.from_numpy(poses.curl), shape=shape)


def in_root_frame(parameters: BodyParameters) -> BodyParameters:
    """The bodies upright with the pelvis at the origin."""
    rotations = parameters.rotations.clone()
    rotations[:, 0] = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return replace(parameters, rotations=rotations, translation=torch.zeros_like(parameters.translation))


def oriented_points(body: BodyModel, parameters: BodyParameters, order: Tensor, batch: int = 128) -> Tensor:
    """(B, 2048, 6) points and unit normals in the root frame, in curve order."""
    upright = in_root_frame(parameters)
    clouds = []
    for start in range(0, len(upright), batch):
        points, normals = body.surface_points(body(upright[start : start + batch]).vertices)
        clouds.append(torch.cat([points, normals], dim=-1)[:, order])
    return torch.cat(clouds)


@dataclass(frozen=True, slots=True)
class BodyTable:
    """Bodies in memory, quantised as on disk.

    Args:
        labels: (n, 104) float32.
        points: (n, N, 3) int16 in 0.1 mm, N = 2048 points, or the places of a level.
        normals: (n, N, 3) int8 in 1/127.
    """

    labels: FloatArray
    points: npt.NDArray[np.int16]
    normals: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def read(cls, directory: Path, split: Split, places: int, limit: int | None = None) -> Self:
        """The shards of a split, pooled to `places` along the curve.

        Raises:
            SourceError: the directory has no shard of the split.
        """
        shards = sorted(directory.glob(f"{split}-*"))
        if not shards:
            raise SourceError(
                f"no {split} bodies in {directory}: run python -m receiver.train.bodies --split {split} first"
            )
        parts: list[tuple[npt.NDArray[np.generic], ...]] = []
        count = 0
        for shard in shards:
            if limit is not None and count >= limit:
                break
            cloud = unpack(np.load(shard / "points.npy"), np.load(shard / "normals.npy"))
            parts.append((np.load(shard / "labels.npy"), *pack(pool(cloud, places))))
            count += len(cloud)
        labels, points, normals = (np.concatenate(column)[:limit] for column in zip(*parts, strict=True))
        return cls(labels.astype(np.float32), points.astype(np.int16), normals.astype(np.int8))

    def batch(self, rows: IntArray | slice) -> tuple[Tensor, Tensor]:
        """(labels (B, 104), oriented points or places (B, N, 6)) of some rows."""
        return torch.from_numpy(self.labels[rows]), unpack(self.points[rows], self.normals[rows])


def pack(cloud_BN6: Tensor) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int8]]:
    """Oriented points as integers, in 0.1 mm and 1/127 of a normal's component."""
    points = (cloud_BN6[..., :3] / POSITION_STEP_M).round().to(torch.int16)
    return points.numpy(), (cloud_BN6[..., 3:] / NORMAL_STEP).round().to(torch.int8).numpy()


def unpack(points: npt.NDArray[np.int16], normals: npt.NDArray[np.int8]) -> Tensor:
    """The inverse of `pack`."""
    positions = torch.from_numpy(points).float() * POSITION_STEP_M
    return torch.cat([positions, torch.from_numpy(normals).float() * NORMAL_STEP], dim=-1)


def write_shard(directory: Path, labels: Tensor, cloud: Tensor) -> None:
    """Writes one shard, atomically."""
    unfinished = directory.with_name(f".{directory.name}")
    unfinished.mkdir(parents=True, exist_ok=True)
    points, normals = pack(cloud)
    for name, array in (("labels", labels.numpy()), ("points", points), ("normals", normals)):
        np.save(unfinished / f"{name}.npy", array)
    unfinished.rename(directory)


@torch.inference_mode()
def main() -> None:
    parser = parser_of("python -m receiver.train.bodies", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose poses and seeds (default: %(default)s)")
    parser.add_argument("--count", type=int, default=150_000, help="number of bodies (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the first shard (default: the first seed of the split)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    body, space = BodyModel.load(), LabelSpace.load()
    order = template_order(body)
    first = SEED_RANGES[arguments.split].start if arguments.seed is None else arguments.seed
    began = time.monotonic()
    for start in range(0, arguments.count, SHARD):
        shard = arguments.out / f"{arguments.split}-{first + start:010d}"
        if shard.exists():
            continue
        parameters = sample_people(arguments.split, first + start, min(SHARD, arguments.count - start))
        write_shard(shard, space.encode(parameters), oriented_points(body, parameters, order))
        print(f"{start + len(parameters)} of {arguments.count} bodies, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m receiver.train.bodies", main))
