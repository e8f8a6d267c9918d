"""What the motion network learns from: labels with errors like a sender's, and the poses that follow.

Clips are those of `common.synthetic.motion.windows` at 60 frames a second, each also mirrored.  Labels come at 3 to 30
a second, irregularly, from a camera that is not quite level, of people of several sizes; a part of their noise stays
for a while.

Shapes: B samples, N = 121 labels before a moment, K tokens, P entries of the pose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, ancestors
from common.body.rotations import axis_angle_to_matrix
from common.labels import LABEL_SIZE, group_slices
from common.motion.history import POSE, POSE_SIZE, TOKENS, Poses, chosen_labels, tokens
from common.motion.label_track import MOST_LABELS
from common.synthetic.dataset.split import Split
from common.synthetic.motion.reference_skeleton import PARENTS, REST_POSITIONS, TIPS
from common.synthetic.motion.windows import MotionWindows
from common.tensor_rows import TensorRows
from receiver.train.motion_errors import LAG_S, Errors, with_errors

FPS: Final = 60
STEP: Final = 2
"""Frames between the two moments after the newest labels whose poses are known."""
MOST_AFTER_S: Final = 0.6

# How irregular the times between labels are.
_JITTER = 0.3
# Noise that moves joints by about 12 mm a coordinate: of entries, of the orientation (radians), of the place (metres).
_ENTRY_NOISE, _TURN_NOISE, _PLACE_NOISE = 0.055, 0.013, 0.007
# The same in one direction, which is that of the camera.
_DEPTH_SHARE = 2.0
_NOISE_STAYS_S = 0.2
# Standard deviations of the camera's pitch and roll, radians, and of a person's size.
_PITCH, _ROLL, _SIZE = 0.12, 0.04, 0.06
# Share of people whose head, arms and hands move as in another clip.
_MIXED = 0.5
# Largest logarithm of how much faster or slower than in the clip somebody moves.
_SPEED = 0.25
_UPPER = torch.zeros(POSE_SIZE, dtype=torch.bool)
for _name in ("head", "left_arm", "right_arm", "hands"):
    _UPPER[group_slices()[_name].start - POSE.start : group_slices()[_name].stop - POSE.start] = True
_BLOCK = 50_000


class Joints(nn.Module):
    """Joints and tips of the reference skeleton."""

    offsets: Tensor
    tips: Tensor
    above: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.space = LabelSpace.load()
        rest, parents = torch.from_numpy(REST_POSITIONS).float(), list(PARENTS)
        self.tip_of = [JOINT_INDEX[name] for name in TIPS]
        tips = torch.from_numpy(np.stack(list(TIPS.values()))).float() - rest[self.tip_of]
        self.register_buffer("offsets", rest - rest[[max(parent, 0) for parent in parents]])
        self.register_buffer("tips", tips)
        self.register_buffer("above", torch.tensor(ancestors(parents)))

    def forward(self, poses: Poses, size: Tensor) -> Tensor:
        """(B, 27, 3) in camera space, metres, of poses (B,) of people so many times as large (B,) as the reference."""
        labels = F.pad(poses.entries, (POSE.start, LABEL_SIZE - POSE.stop))
        local = axis_angle_to_matrix(self.space.decode_vectors(labels)[0])
        local = torch.cat([poses.orientation[:, None], local], 1).index_select(1, self.space.joint_place)
        transforms = torch.cat([local, self.offsets.expand(len(local), -1, -1)[..., None]], 3)
        last = transforms.new_tensor([0, 0, 0, 1]).expand(len(local), local.shape[1], 1, 4)
        top = torch.eye(4, device=local.device).expand(len(local), 1, 4, 4)
        transforms = torch.cat([torch.cat([transforms, last], 2), top], 1)
        for above in self.above:
            transforms = transforms.index_select(1, above) @ transforms
        rotations, joints = transforms[:, :-1, :3, :3], transforms[:, :-1, :3, 3]
        joints = joints - joints[:, :1]
        tips = joints[:, self.tip_of] + (rotations[:, self.tip_of] @ self.tips[..., None])[..., 0]
        return poses.position[:, None] + size[:, None, None] * torch.cat([joints, tips], 1)


class Clips:
    """The frames of all clips of a split one after the other, and mirrored.

    Args:
        split: a clip belongs to one.

    Attributes:
        poses, mirrored: (F,).
        first: (F,) the first frame of each frame's clip.
        usable: frames behind which enough of their clip follows.
    """

    def __init__(self, windows: MotionWindows, split: Split, space: LabelSpace) -> None:
        rows, clip = windows.starts(split, 1)
        ends = np.searchsorted(rows, windows.lengths.cumsum())[clip]
        starts = np.searchsorted(rows, windows.lengths.cumsum() - windows.lengths)[clip]
        usual = space.decode_vectors(torch.zeros(1, LABEL_SIZE))[1][0].tolist()
        blocks = [windows.bodies(each, usual) for each in np.split(rows, range(_BLOCK, len(rows), _BLOCK))]
        self.poses = Poses.concatenate([_poses(bodies, space) for bodies in blocks])
        self.mirrored = Poses.concatenate([_poses(bodies.mirrored(), space) for bodies in blocks])
        self.first = torch.from_numpy(starts)
        frames = np.arange(len(rows))
        after = round((MOST_AFTER_S + LAG_S) * FPS * np.exp(_SPEED)) + STEP
        self.usable = torch.from_numpy(frames[frames + after < ends])

    def at(self, frames: Tensor, mirrored: Tensor) -> Poses:
        """Poses (B, …) of frames (B, …), mirrored where that is true (B,)."""
        where, pairs = mirrored, zip(self.mirrored.columns(), self.poses.columns(), strict=True)
        return Poses(*(torch.where(_behind(where, one[frames]), one[frames], other[frames]) for one, other in pairs))


def _poses(bodies: BodyParameters, space: LabelSpace) -> Poses:
    return Poses(space.encode_pose(bodies.rotations, bodies.curl), bodies.rotations[:, 0].clone(), bodies.translation)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What B samples are to be like.

    Args:
        rate: (B,) labels a second.
        noise: (B,) 1 moves joints by about 12 mm a coordinate.
        stays: (B,) share of its variance that stays for a while.
        after_s: (B,) when the pose is asked for, after the newest labels.
        perceived: (B,) 1 adds perception's errors, 0 none.
        varied: whether times are irregular, and size, camera and side vary.
    """

    rate: Tensor
    noise: Tensor
    stays: Tensor
    after_s: Tensor
    perceived: Tensor
    varied: bool


@dataclass(frozen=True, slots=True)
class Samples(TensorRows):
    """What the network sees of B people, and what it is to tell.

    Args:
        tokens, newest, counts: as `common.motion.history` gives them.
        after_s, step_s: (B, 1) when the first of the true poses is, and how much later the second is.
        now: the newest labels' poses.
        first, second: the true poses.
        size: (B,) over that of the reference skeleton.
    """

    tokens: Tensor
    newest: Tensor
    counts: Tensor
    after_s: Tensor
    step_s: Tensor
    now: Poses
    first: Poses
    second: Poses
    size: Tensor


def samples(clips: Clips, errors: Errors, wanted: Wanted, generator: torch.Generator) -> Samples:
    """B samples of random moments."""
    count = len(wanted.rate)
    moment = clips.usable[torch.randint(len(clips.usable), (count,), generator=generator)]
    mirrored = (torch.rand(count, generator=generator) < 0.5) & wanted.varied
    fps = FPS * torch.exp(_SPEED * wanted.varied * (2 * torch.rand(count, generator=generator) - 1))[:, None]
    frames, counts = _labels_before(clips, moment, wanted, fps, generator)
    ages = (moment[:, None] - frames) / fps
    later = (wanted.after_s * fps[:, 0]).round().long()
    behind = later + (LAG_S * wanted.perceived * fps[:, 0]).round().long()
    shown = (frames, moment + behind, moment + behind + STEP)
    seen, *true = (clips.at(each, mirrored) for each in shown)
    if wanted.varied:
        seen, *true = _mixed(clips, moment, shown, (seen, *true), generator)
    size = torch.ones(count)
    if wanted.varied:
        size += _SIZE * torch.randn(count, generator=generator)
        camera = _camera(count, generator)
        seen, *true = (_before_camera(each, camera, size) for each in (seen, *true))
    seen = _noisy(seen, ages, wanted, generator)
    after_s = later[:, None] / fps
    changes = errors.moments((ages, -after_s[:, 0], -after_s[:, 0] - STEP / fps[:, 0]), generator)
    perceived = [_behind(wanted.perceived, each) * each for each in changes]
    seen, *true = (with_errors(*each) for each in zip((seen, *true), perceived, strict=True))
    now = Poses(*(column[:, 0] for column in seen.columns()))
    read, newest = tokens(seen, ages)
    first, second = true
    return Samples(read, newest, counts.float(), after_s, STEP / fps, now, first, second, size)


def _mixed(
    clips: Clips, moment: Tensor, shown: Sequence[Tensor], poses: Sequence[Poses], generator: torch.Generator
) -> list[Poses]:
    """Poses, of some of which the upper body is that of other clips: there are more motions than clips."""
    count = len(moment)
    other = clips.usable[torch.randint(len(clips.usable), (count,), generator=generator)]
    mixed = torch.rand(count, generator=generator) < _MIXED
    mirrored = torch.rand(count, generator=generator) < 0.5
    made = []
    for frames, own in zip(shown, poses, strict=True):
        moved = frames + _behind(other - moment, frames)
        upper = clips.at(torch.maximum(moved, _behind(clips.first[other], frames)), mirrored)
        entries = torch.where(_behind(mixed, own.entries) & _UPPER, upper.entries, own.entries)
        made.append(Poses(entries, own.orientation, own.position))
    return made


def _labels_before(
    clips: Clips, moment: Tensor, wanted: Wanted, fps: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The frames (B, K) of the labels that tokens are made of, and whether they count; `fps` (B, 1) of each clip."""
    spread = _JITTER * (2 * torch.rand(len(moment), MOST_LABELS - 1, generator=generator) - 1) * wanted.varied
    back = F.pad((fps / wanted.rate[:, None] * (1 + spread)).cumsum(1).round().long(), (1, 0))
    known = moment[:, None] - back >= clips.first[moment][:, None]
    label, counts = chosen_labels(torch.where(known, back / fps, torch.inf))
    return moment[:, None] - back.gather(1, label), counts


def _camera(count: int, generator: torch.Generator) -> Tensor:
    """(B, 3, 3) rotations into the axes of cameras."""
    angles = torch.randn(count, 3, generator=generator) * torch.tensor([_PITCH, 0.0, _ROLL])
    angles[:, 1] = 2 * torch.pi * torch.rand(count, generator=generator)
    x, y, z = axis_angle_to_matrix(torch.diag_embed(angles)).unbind(1)
    return x @ z @ y


def _before_camera(poses: Poses, camera: Tensor, size: Tensor) -> Poses:
    """In the axes of cameras (B, 3, 3), of people of other sizes (B,)."""
    camera, size = _behind(camera, poses.orientation), _behind(size, poses.position)
    position = (camera @ poses.position[..., None])[..., 0]
    return Poses(poses.entries, camera @ poses.orientation, size * position)


def _noisy(seen: Poses, ages_s: Tensor, wanted: Wanted, generator: torch.Generator) -> Poses:
    """Poses (B, K) with errors."""
    apart, stays = (ages_s[:, :, None] - ages_s[:, None]).abs(), wanted.stays[:, None, None]
    covariance = stays * torch.exp(-apart / _NOISE_STAYS_S) + (1 - stays) * (apart < 0.25 / FPS)
    factor = torch.linalg.cholesky(covariance + 1e-3 * torch.eye(TOKENS)) * wanted.noise[:, None, None]
    entries, turn, place = (
        factor @ torch.randn(len(ages_s), TOKENS, size, generator=generator) for size in (POSE_SIZE, 3, 3)
    )
    towards = F.normalize(torch.randn(len(ages_s), 1, 3, generator=generator), dim=2)
    place = place + (_DEPTH_SHARE - 1) * towards * (place * towards).sum(2, keepdim=True)
    return Poses(
        seen.entries + _ENTRY_NOISE * entries,
        axis_angle_to_matrix(_TURN_NOISE * turn) @ seen.orientation,
        seen.position + _PLACE_NOISE * place,
    )


def _behind(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (B, …) with axes of length one between the first and the others, as many as `like` has more."""
    return rows.reshape(len(rows), *[1] * (like.dim() - rows.dim()), *rows.shape[1:])
