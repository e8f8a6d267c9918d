"""What the motion network learns from: labels with errors like a sender's, and the poses that follow.

Clips are those of `common.synthetic.motion.windows` at 60 frames a second, and rendered ones as they are received, each
also mirrored.  Labels come at 1 to 30 a second, irregularly, some are lost, from a camera that is not quite level, of
people of several sizes; a part of their noise stays for a while.  Those of thin links are coarse, and some are ahead of
their capture.

Shapes: B samples, N = 121 labels before a moment, K tokens, P entries of the pose, C = 67 numbers of a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import TRANSLATION_SCALE, LabelSpace, decode_root
from common.body.model import BodyParameters, ancestors, axis_angle_to_matrix, matrix_to_axis_angle
from common.codec.tables import UNIT, rho_levels, steps
from common.codec.tables import load as load_tables
from common.codec.tables import load_allocation as rate_distortion
from common.labels import GROUP_NAMES, LABEL_SIZE, ROTATION_SCALE, group_slices
from common.motion.label_track import MOST_LABELS
from common.motion.network import POSE, POSE_SIZE, TOKENS, Poses, chosen_labels, tokens
from common.synthetic.dataset import Split
from common.synthetic.motion.retarget import PARENTS, REST_POSITIONS, TIPS
from common.synthetic.motion.windows import MotionWindows
from common.tensor_rows import TensorRows
from receiver.train.motion_errors import LAG_S, Errors, with_errors

FPS: Final = 60
STEP: Final = 2
"""Frames between the two moments after the newest labels whose poses are known."""
MOST_AFTER_S: Final = 0.6

# How irregular the times between labels are, and the share of labels that are lost.
_JITTER, _LOST = 0.3, 0.05
# Noise that moves joints by about 12 mm a coordinate: of entries, of the orientation (radians), of the place (metres).
_ENTRY_NOISE, _TURN_NOISE, _PLACE_NOISE = 0.055, 0.013, 0.007
# The same in one direction, which is that of the camera.
_DEPTH_SHARE = 2.0
_NOISE_STAYS_S = 0.2
# Labels ahead of their capture follow the last change, over `_SPAN_S`, damped by `_TAU_S`.  A sender knows how people
# move: of the error that this has, its prediction has a share.
_SPAN_S, _TAU_S, _AHEAD_ERROR = 0.1, 0.15, 0.7
# Sets of the codec's steps, from the finest to the coarsest; of people at this depth, metres.
_COARSENESSES, _DEPTH_M = 21, 3.5
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
_ROOT = group_slices()["root"]


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
        received: (N, T, LABEL_SIZE) further clips, labels as they are received, 30 a second.

    Attributes:
        poses, mirrored: (F,).
        first: (F,) the first frame of each frame's clip.
        usable, received: frames behind which enough of their clip follows, of windows and of those received.
    """

    def __init__(self, windows: MotionWindows, split: Split, space: LabelSpace, received: FloatArray) -> None:
        rows, clip = windows.starts(split, 1)
        ends = np.searchsorted(rows, windows.lengths.cumsum())[clip]
        starts = np.searchsorted(rows, windows.lengths.cumsum() - windows.lengths)[clip]
        usual = space.decode_vectors(torch.zeros(1, LABEL_SIZE))[1][0].tolist()
        blocks = [windows.bodies(each, usual) for each in np.split(rows, range(_BLOCK, len(rows), _BLOCK))]
        labels = torch.from_numpy(received)
        other = space.encode(space.decode(labels.flatten(0, 1)).mirrored()).view_as(labels)
        self.poses = Poses.concatenate([*(_poses(bodies, space) for bodies in blocks), _twice_as_often(labels)])
        turned = (_poses(bodies.mirrored(), space) for bodies in blocks)
        self.mirrored = Poses.concatenate([*turned, _twice_as_often(other)])
        length = 2 * (received.shape[1] - 1)
        began = len(rows) + np.repeat(length * np.arange(len(received)), length)
        first, ends = np.concatenate([starts, began]), np.concatenate([ends, began + length])
        frames = np.arange(len(first))
        after = round((MOST_AFTER_S + LAG_S) * FPS * np.exp(_SPEED)) + STEP
        enough = frames + after < ends
        self.first = torch.from_numpy(first)
        of_windows = frames < len(rows)
        self.usable, self.received = (torch.from_numpy(frames[enough & of]) for of in (of_windows, ~of_windows))

    def at(self, frames: Tensor, mirrored: Tensor) -> Poses:
        """Poses (B, …) of frames (B, …), mirrored where that is true (B,)."""
        where, pairs = mirrored, zip(self.mirrored.columns(), self.poses.columns(), strict=True)
        return Poses(*(torch.where(_behind(where, one[frames]), one[frames], other[frames]) for one, other in pairs))


def _poses(bodies: BodyParameters, space: LabelSpace) -> Poses:
    return Poses(space.encode_pose(bodies.rotations, bodies.curl), bodies.rotations[:, 0].clone(), bodies.translation)


def _twice_as_often(labels: Tensor) -> Poses:
    """Poses of labels (N, T, LABEL_SIZE) but the last, each followed by that half-way to the next."""
    before, after = labels[:, :-1], labels[:, 1:]
    rows = torch.stack([before, (before + after) / 2], 2).flatten(0, 2)
    return Poses(rows[:, POSE], *decode_root(rows[:, _ROOT]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What B samples are to be like.

    Args:
        rate: (B,) labels a second.
        noise: (B,) 1 moves joints by about 12 mm a coordinate.
        stays: (B,) share of its variance that stays for a while.
        after_s: (B,) when the pose is asked for, after the newest labels.
        perceived: (B,) 1 adds perception's errors, 0 none.
        received: (B,) whether it is a clip of labels as they are received.
        coarse: (B,) 0 for labels that are not quantised, 1 for the codec's coarsest steps.
        ahead_s: (B,) how far ahead of their capture the labels are.
        varied: whether times are irregular, and size, camera and side vary.
    """

    rate: Tensor
    noise: Tensor
    stays: Tensor
    after_s: Tensor
    perceived: Tensor
    received: Tensor
    coarse: Tensor
    ahead_s: Tensor
    varied: bool


@dataclass(frozen=True, slots=True)
class Samples(TensorRows):
    """What the network sees of B people, and what it is to tell.

    Args:
        tokens, newest, counts: as `common.motion.network` gives them.
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
    own, received = (
        each[torch.randint(len(each), (count,), generator=generator)] for each in (clips.usable, clips.received)
    )
    moment = torch.where(wanted.received, received, own)
    mirrored = (torch.rand(count, generator=generator) < 0.5) & wanted.varied
    fps = FPS * torch.exp(_SPEED * wanted.varied * (2 * torch.rand(count, generator=generator) - 1))[:, None]
    frames, counts = _labels_before(clips, moment, wanted, fps, generator)
    ages = (moment[:, None] - frames) / fps
    later = (wanted.after_s * fps[:, 0]).round().long()
    behind = later + (LAG_S * wanted.perceived * fps[:, 0]).round().long()
    sooner_s = torch.stack([wanted.ahead_s, wanted.ahead_s + _SPAN_S])[:, :, None]
    sooner = torch.maximum(frames - (fps * sooner_s).round().long(), clips.first[moment][:, None])
    shown = (frames, *sooner, moment + behind, moment + behind + STEP)
    poses = [clips.at(each, mirrored) for each in shown]
    if wanted.varied:
        poses = _mixed(clips, moment, shown, poses, wanted, generator)
    size = torch.ones(count)
    if wanted.varied:
        size += _SIZE * torch.randn(count, generator=generator)
        camera = _camera(count, generator)
        poses = [_before_camera(each, camera, size) for each in poses]
    after_s = later[:, None] / fps
    times_s = (ages, *(ages + sooner_s), -after_s[:, 0], -after_s[:, 0] - STEP / fps[:, 0])
    perceived = [_behind(wanted.perceived, each) * each for each in errors.moments(times_s, generator)]
    then, captured, before, first, second = (with_errors(*each) for each in zip(poses, perceived, strict=True))
    seen = _noisy(_ahead(then, captured, before, wanted.ahead_s), ages, wanted, generator)
    seen = _coarse(seen, wanted.coarse, generator)
    now = Poses(*(column[:, 0] for column in seen.columns()))
    read, newest = tokens(seen, ages)
    return Samples(read, newest, counts.float(), after_s, STEP / fps, now, first, second, size)


def _mixed(
    clips: Clips,
    moment: Tensor,
    shown: Sequence[Tensor],
    poses: Sequence[Poses],
    wanted: Wanted,
    generator: torch.Generator,
) -> list[Poses]:
    """Poses, of some of which the upper body is that of other clips: there are more motions than clips."""
    count = len(moment)
    other = clips.usable[torch.randint(len(clips.usable), (count,), generator=generator)]
    mixed = (torch.rand(count, generator=generator) < _MIXED) & ~wanted.received
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
    lost = F.pad(torch.rand(spread.shape, generator=generator) < _LOST * wanted.varied, (1, 0))
    known = (moment[:, None] - back >= clips.first[moment][:, None]) & ~lost
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


def _ahead(then: Poses, captured: Poses, before: Poses, ahead_s: Tensor) -> Poses:
    """What a sender predicts of poses (B, K), from those that it has captured, and those of `_SPAN_S` earlier."""
    share = _TAU_S * -torch.expm1(-ahead_s / _TAU_S) / _SPAN_S
    return _towards(then, _towards(before, captured, 1 + share), torch.full_like(share, _AHEAD_ERROR))


def _towards(start: Poses, end: Poses, share: Tensor) -> Poses:
    """Poses (B, K) that have gone a share (B,) of the way to others; 1 leads to them, more goes on."""
    share = share[:, None, None]
    turn = axis_angle_to_matrix(share * matrix_to_axis_angle(end.orientation @ start.orientation.mT))
    entries, place = (a + share * (b - a) for a, b in ((start.entries, end.entries), (start.position, end.position)))
    return Poses(entries, turn @ start.orientation, place)


def _coarse(seen: Poses, coarse: Tensor, generator: torch.Generator) -> Poses:
    """Poses (B, K) in steps of the codec (B,), which begin anywhere."""
    step = _steps()[((_COARSENESSES - 1) * coarse).round().long()][:, None]
    begin = torch.rand(step.shape, generator=generator)
    newest = seen.orientation[:, :1]
    turns = matrix_to_axis_angle(seen.orientation @ newest.mT)
    exact = torch.cat([seen.entries, turns, seen.position], 2)
    rounded = torch.where(coarse[:, None, None] > 0, step * ((exact / step + begin).round() - begin), exact)
    entries, turns, place = rounded.split((POSE_SIZE, 3, 3), 2)
    return Poses(entries, axis_angle_to_matrix(turns) @ newest, place)


@lru_cache(maxsize=1)
def _steps() -> Tensor:
    """(_COARSENESSES, C) from the finest bits to the coarsest, as they are allocated to the groups."""
    table, rows = rate_distortion(), []
    coarsest, finest = table.bounds_bits
    for bits in np.geomspace(finest, coarsest, _COARSENESSES).tolist():
        levels = rho_levels(table.allocate(bits, {}, np.zeros(len(GROUP_NAMES), np.int64)))
        step = steps(load_tables().base_step, levels) / UNIT
        place = _DEPTH_M * np.array(TRANSLATION_SCALE) * step[6:9]
        rows.append(np.concatenate([step[POSE], ROTATION_SCALE * step[:3], place]))
    return torch.tensor(np.stack(rows), dtype=torch.float32)


def _behind(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (B, …) with axes of length one between the first and the others, as many as `like` has more."""
    return rows.reshape(len(rows), *[1] * (like.dim() - rows.dim()), *rows.shape[1:])
