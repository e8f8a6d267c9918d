"""Trains the motion network: what somebody does next, from labels with errors like a sender's.

Clips are those of `common.synthetic.motion.windows` at 60 frames a second, and rendered ones as they are received, all
mirrored too.  Labels come at 1 to 30 a second, irregularly, some are lost, from a camera that is not quite level, of
people of several sizes; they are as coarse and as far ahead of their capture as over a link that carries so many.  A
quarter of them are those of rendered clips as they are received; to a quarter the errors of such clips are added, which
last and depend on the pose; to the others invented ones, a part of which stays for a while.

The loss is the distance of the joints up to 0.6 s after the newest labels, and that of their velocities, from the truth
with the errors that labels will then have: those that last cannot be told, and whoever tries to slows all movements
down.  CPU recipe: an hour on one core.

Shapes: B samples, N = 121 labels before a moment, K tokens, P entries of the pose, C = P + 6 numbers of a change.

Examples:
  python -m receiver.train.motion --windows windows60 --perceived perceived --out runs/motion --export
  python -m receiver.train.motion --windows windows60 --perceived perceived --out runs/motion --resume --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX, JOINTS
from common.body.label_space import TRANSLATION_SCALE, LabelSpace, decode_root
from common.body.model import BodyModel, axis_angle_to_matrix, matrix_to_axis_angle
from common.codec.frame_codec import MODEL_HASH_SIZE, FrameCodec
from common.codec.tables import UNIT, rho_levels, steps
from common.codec.tables import load as load_tables
from common.codec.tables import load_allocation as rate_distortion
from common.errors import UsageError
from common.labels import GROUP_NAMES, LABEL_SIZE, ROTATION_SCALE, concatenate, group_slices
from common.motion.label_track import MOST_LABELS
from common.motion.network import (
    KIND,
    POSE,
    POSE_SIZE,
    TOKENS,
    WEIGHTS_NAME,
    MotionConfig,
    MotionNetwork,
    Poses,
    after_change,
    chosen_labels,
    tokens,
)
from common.synthetic.dataset import Split
from common.synthetic.motion.retarget import REST_POSITIONS, TIPS
from common.synthetic.motion.windows import MotionWindows, open_windows
from common.tensor_rows import TensorRows
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from receiver.motion.session_motion import SessionMotion

FPS: Final = 60
STEP: Final = 2
"""Frames between the two moments after the newest labels whose poses are known."""
MOST_AFTER_S: Final = 0.6
PERCEIVED_FPS: Final = 30
LAG_S: Final = 1 / PERCEIVED_FPS
"""How long received labels are behind the truth, seconds, because they are smoothed; measured on validation clips."""

# Labels a second at most.  A sender predicts from as many as its camera has, for this share of the samples and so far.
_FASTEST, _SENDERS, _SENDER_S = 30.0, 0.25, 0.4
# So rare labels may be ahead of their capture, by a share of the time between them, and at most so far.
_RARE, _AHEAD_SHARE, _MOST_AHEAD_S = 6.0, 0.43, 0.375
# What labels at the highest rate are at most, with 1 for the codec's coarsest steps.
_COARSE_IF_FAST = 0.4
# Shares of labels that are as received, and to which errors of received ones are added; the others have noise.
_RECEIVED, _PERCEIVED = 0.25, 0.25
_MOST_NOISE = 1.5
_VELOCITY_WEIGHT, _POSE_WEIGHT, _ENTRY_WEIGHT = 0.02, 0.5, 0.02
# What the scores are of: the delay of a link, labels a second, moments.
_LAG_S, _SCORED_RATES, _SCORED = 0.06, (30, 10, 5, 3, 2, 1), 3000

# How irregular the times between labels are, and the share of labels that are lost.
_JITTER, _LOST = 0.3, 0.05
# Noise that moves joints by about 12 mm a coordinate: of entries, of the orientation (radians), of the place (metres).
_NOISE = torch.tensor([0.055] * POSE_SIZE + [0.013] * 3 + [0.007] * 3)
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
_UPPER = torch.zeros(POSE_SIZE, dtype=torch.bool)
for _name in ("head", "left_arm", "right_arm", "hands"):
    _UPPER[group_slices()[_name].start - POSE.start : group_slices()[_name].stop - POSE.start] = True
# Largest logarithm of how much faster or slower than in the clip somebody moves.
_SPEED = 0.25
_BLOCK = 50_000


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
        varied: whether times are irregular, and size and camera vary.
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
        size: (B,) over that of the mean body.
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


class MotionTraining(Recipe[MotionNetwork, Samples]):
    """The joints at the time of display."""

    name = WEIGHTS_NAME
    kind = KIND
    defaults = Defaults(60.0, batch=384, rate=1.5e-3, weight_decay=1e-2, evaluate_minutes=20.0, log_every=100)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--windows", type=Path, required=True, help="folder of common.synthetic.motion.windows, 60 frames a second")
        add("--perceived", type=Path, required=True, help="folder of sender.train.perceived_motion: train.npz, val.npz")

    def prepare(self) -> MotionNetwork:
        windows, space = open_windows(self.options.windows, FPS), LabelSpace.load()
        (received, true), (val, _) = (received_labels(self.options.perceived / f"{s}.npz") for s in ("train", "val"))
        self._train, self._val = Clips(windows, "train", space, received), Clips(windows, "val", space, val)
        self._errors = Errors.of(space, received, true)
        self._joints = Joints(space).to(self.device)
        perceived = len(self._errors)
        self.facts = {"frames": len(self._train.usable), "perceived": perceived, "shipped": self.options.shipped}
        return self.or_shipped(MotionNetwork(MotionConfig()))

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Samples]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        while True:
            noise, stays, share, kind, rare, coarse, whose, ahead = torch.rand(8, count, generator=generator)
            sender = whose < _SENDERS
            rate = torch.where(sender, _FASTEST, _FASTEST**rare)
            received, noisy = kind < _RECEIVED, kind >= _RECEIVED + _PERCEIVED
            perceived = (~received & ~noisy).float()
            noise = _MOST_NOISE * noise.square() * noisy
            coarse = torch.where(sender, 0.0, coarse * (1 - (1 - _COARSE_IF_FAST) * rare))
            ahead = (rate < _RARE) * (ahead < 0.5) * (_AHEAD_SHARE / rate).clamp(max=_MOST_AHEAD_S)
            reach = (_LAG_S + 1.5 / rate + 0.1 - ahead).clamp(max=MOST_AFTER_S)
            after = share * torch.where(sender, _SENDER_S, reach)
            wanted = Wanted(rate, noise, stays, after, perceived, received, coarse, ahead, varied=True)
            yield samples(self._train, self._errors, wanted, generator)

    def step(self, network: MotionNetwork, batch: Samples) -> tuple[Tensor, Mapping[str, Tensor]]:
        read = network.context(batch.tokens, batch.newest, batch.counts)
        errors, entries = [], []
        for after_s, true in ((batch.after_s, batch.first), (batch.after_s + batch.step_s, batch.second)):
            predicted = after_change(batch.now, network.unfolding(*read, after_s)[0])
            errors.append(self._joints(predicted, batch.size) - self._joints(true, batch.size))
            entries.append((predicted.entries - true.entries).abs().mean())
        world = torch.stack([_lengths(each) for each in errors]).mean()
        pose = torch.stack([_lengths(each - each[:, :1]) for each in errors]).mean()
        velocity = _lengths((errors[1] - errors[0]) / batch.step_s[:, None]).mean()
        loss = world + _POSE_WEIGHT * pose + _VELOCITY_WEIGHT * velocity + _ENTRY_WEIGHT * sum(entries)
        return loss, {"world_mm": 1e3 * world, "pose_mm": 1e3 * pose, "velocity": velocity}

    def evaluate(self, network: MotionNetwork) -> dict[str, float]:
        """Distance of joints in the world, mm, 60 ms to one label more after labels with noise, or as received."""
        scores = {}
        for rate, received in product(_SCORED_RATES, (False, True)):
            generator = torch.Generator().manual_seed(rate)
            after_s = (_LAG_S + torch.rand(_SCORED, generator=generator) / rate).clamp(max=MOST_AFTER_S)
            real, rates, none = torch.full((_SCORED,), received), torch.full((_SCORED,), rate), torch.zeros(_SCORED)
            wanted = Wanted(rates, (~real).float(), none, after_s, none, real, none, none, varied=False)
            one = samples(self._val, self._errors, wanted, generator).to(self.device)
            predicted = after_change(one.now, network(one.tokens, one.newest, one.counts, one.after_s))
            for name, poses in (("held", one.now), ("predicted", predicted)):
                error = self._joints(poses, one.size) - self._joints(one.first, one.size)
                scores[f"{name}{'_received' if received else ''}_{rate}_mm"] = 1e3 * float(_lengths(error).mean())
        return scores


def _lengths(vectors: Tensor) -> Tensor:
    """Of vectors along the last axis, with a gradient at 0."""
    return (vectors.square().sum(-1) + 1e-8).sqrt()


def samples(clips: "Clips", errors: "Errors", wanted: Wanted, generator: torch.Generator) -> Samples:
    """B samples of random moments."""
    count = len(wanted.rate)
    own, received = (_drawn(each, count, generator) for each in (clips.usable, clips.received))
    moment = torch.where(wanted.received, received, own)
    fps = FPS * torch.exp(_SPEED * wanted.varied * (2 * torch.rand(count, generator=generator) - 1))[:, None]
    frames, counts = _labels_before(clips, moment, wanted, fps, generator)
    ages = (moment[:, None] - frames) / fps
    later = (wanted.after_s * fps[:, 0]).round().long()
    behind = later + (LAG_S * wanted.perceived * fps[:, 0]).round().long()
    sooner_s = torch.stack([wanted.ahead_s, wanted.ahead_s + _SPAN_S])[:, :, None]
    sooner = torch.maximum(frames - (fps * sooner_s).round().long(), clips.first[moment][:, None])
    shown = (frames, *sooner, moment + behind, moment + behind + STEP)
    poses, size = [clips.poses[each] for each in shown], torch.ones(count)
    if wanted.varied:
        poses = _mixed(clips, moment, shown, poses, wanted, generator)
        size += _SIZE * torch.randn(count, generator=generator)
        camera = _camera(count, generator)
        poses = [_before_camera(each, camera, size) for each in poses]
    after_s = later[:, None] / fps
    times_s = (ages, *(ages + sooner_s), -after_s[:, 0], -after_s[:, 0] - STEP / fps[:, 0])
    perceived = [_behind(wanted.perceived, each) * each for each in errors.moments(times_s, generator)]
    then, captured, before, first, second = (changed(*each) for each in zip(poses, perceived, strict=True))
    ahead = (_TAU_S * -torch.expm1(-wanted.ahead_s / _TAU_S) / _SPAN_S)[:, None, None]
    # What a sender predicts, from what it has captured, is nearer to what follows than that.
    extrapolated = changed(before, (1 + ahead) * change(captured, before))
    seen = changed(then, _AHEAD_ERROR * change(extrapolated, then))
    seen = _coarse(changed(seen, _noise(ages, wanted, generator)), wanted.coarse, generator)
    now = Poses(*(column[:, 0] for column in seen.columns()))
    read, newest = tokens(seen, ages)
    return Samples(read, newest, counts.float(), after_s, STEP / fps, now, first, second, size)


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=generator)]


def _labels_before(
    clips: "Clips", moment: Tensor, wanted: Wanted, fps: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The frames (B, K) of the labels that tokens are made of, and whether they count; `fps` (B, 1) of each clip."""
    spread = _JITTER * (2 * torch.rand(len(moment), MOST_LABELS - 1, generator=generator) - 1) * wanted.varied
    back = F.pad((fps / wanted.rate[:, None] * (1 + spread)).cumsum(1).round().long(), (1, 0))
    lost = F.pad(torch.rand(spread.shape, generator=generator) < _LOST * wanted.varied, (1, 0))
    known = (moment[:, None] - back >= clips.first[moment][:, None]) & ~lost
    label, counts = chosen_labels(torch.where(known, back / fps, torch.inf))
    return moment[:, None] - back.gather(1, label), counts


def _mixed(
    clips: "Clips",
    moment: Tensor,
    shown: Sequence[Tensor],
    poses: Sequence[Poses],
    wanted: Wanted,
    generator: torch.Generator,
) -> list[Poses]:
    """Poses, of some of which the upper body is that of other clips: there are more motions than clips."""
    other = _drawn(clips.usable, len(moment), generator)
    mixed = (torch.rand(len(moment), generator=generator) < _MIXED) & ~wanted.received
    made = []
    for frames, own in zip(shown, poses, strict=True):
        moved = torch.maximum(frames + _behind(other - moment, frames), _behind(clips.first[other], frames))
        entries = torch.where(_behind(mixed, own.entries) & _UPPER, clips.poses.entries[moved], own.entries)
        made.append(Poses(entries, own.orientation, own.position))
    return made


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


def _noise(ages_s: Tensor, wanted: Wanted, generator: torch.Generator) -> Tensor:
    """Invented errors (B, K, C)."""
    apart, stays = (ages_s[:, :, None] - ages_s[:, None]).abs(), wanted.stays[:, None, None]
    covariance = stays * torch.exp(-apart / _NOISE_STAYS_S) + (1 - stays) * (apart < 0.25 / FPS)
    factor = torch.linalg.cholesky(covariance + 1e-3 * torch.eye(TOKENS)) * wanted.noise[:, None, None]
    noise: Tensor = _NOISE * (factor @ torch.randn(len(ages_s), TOKENS, POSE_SIZE + 6, generator=generator))
    towards = F.normalize(torch.randn(len(ages_s), 1, 3, generator=generator), dim=2)
    noise[..., -3:] += (_DEPTH_SHARE - 1) * towards * (noise[..., -3:] * towards).sum(2, keepdim=True)
    return noise


def _coarse(seen: Poses, coarse: Tensor, generator: torch.Generator) -> Poses:
    """Poses (B, K) in steps of the codec (B,), which begin anywhere."""
    step = _steps()[((_COARSENESSES - 1) * coarse).round().long()][:, None]
    begin, newest = torch.rand(step.shape, generator=generator), Poses(*(each[:, :1] for each in seen.columns()))
    exact = change(seen, newest)
    rounded = step * ((exact / step + begin).round() - begin)
    return changed(newest, torch.where(coarse[:, None, None] > 0, rounded, exact))


@lru_cache(maxsize=1)
def _steps() -> Tensor:
    """(_COARSENESSES, C) from the finest bits to the coarsest, as they are allocated to the groups."""
    table, rows = rate_distortion(), []
    coarsest, finest = table.bounds_bits
    for bits in np.geomspace(finest, coarsest, _COARSENESSES).tolist():
        levels = rho_levels(table.allocate(bits, {}, np.zeros(len(GROUP_NAMES), np.int64)))
        step = steps(load_tables().base_step, levels)[: POSE.stop] / UNIT
        place = _DEPTH_M * np.array(TRANSLATION_SCALE) * step[6:9]
        rows.append(np.concatenate([step[POSE], ROTATION_SCALE * step[:3], place]))
    return torch.tensor(np.stack(rows), dtype=torch.float32)


def change(poses: Poses, since: Poses) -> Tensor:
    """(…, C) from poses (…) to others: entries, a rotation vector and a displacement in camera axes."""
    turn = matrix_to_axis_angle(poses.orientation @ since.orientation.mT)
    return torch.cat([poses.entries - since.entries, turn, poses.position - since.position], -1)


def changed(poses: Poses, changes: Tensor) -> Poses:
    """Poses (…) with changes (…, C)."""
    entries, turn, place = changes.split((POSE_SIZE, 3, 3), -1)
    return Poses(poses.entries + entries, axis_angle_to_matrix(turn) @ poses.orientation, poses.position + place)


def _behind(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (B, …) with axes of length one between the first and the others, as many as `like` has more."""
    return rows.reshape(len(rows), *[1] * (like.dim() - rows.dim()), *rows.shape[1:])


class Clips:
    """The frames of all clips of a split one after the other, then those of their mirror images.

    Args:
        split: a clip belongs to one.
        received: (N, T, LABEL_SIZE) further clips, labels as they are received, 30 a second.

    Attributes:
        poses: (F,).
        first: (F,) the first frame of each frame's clip.
        usable, received: frames behind which enough of their clip follows, of windows and of those received.
    """

    def __init__(self, windows: MotionWindows, split: Split, space: LabelSpace, received: FloatArray) -> None:
        rows, clip = windows.starts(split, 1)
        usual = space.decode_vectors(torch.zeros(1, LABEL_SIZE))[1][0].tolist()
        blocks = [windows.bodies(each, usual) for each in np.split(rows, range(_BLOCK, len(rows), _BLOCK))]
        parts = []
        for side, labels in enumerate(both_sides(space, received)):
            for body in (each.mirrored() if side else each for each in blocks):
                entries = space.encode_pose(body.rotations, body.curl)
                parts.append(Poses(entries, body.rotations[:, 0].clone(), body.translation))
            # Twice as often, without the last labels.
            often = torch.stack([labels[:, :-1], (labels[:, :-1] + labels[:, 1:]) / 2], 2)
            parts.append(poses_of(often.flatten(0, 2)))
        self.poses = Poses.concatenate(parts)
        lengths = np.append(np.bincount(clip), [2 * (received.shape[1] - 1)] * len(received))
        lengths = np.tile(lengths, 2).astype(np.int64)
        ends = lengths.cumsum()
        self.first = torch.from_numpy(np.repeat(ends - lengths, lengths))
        after, frames = round((MOST_AFTER_S + LAG_S) * FPS * np.exp(_SPEED)) + STEP, np.arange(len(self.first))
        enough, of_windows = frames + after < np.repeat(ends, lengths), frames % (len(frames) // 2) < len(rows)
        self.usable, self.received = (torch.from_numpy(frames[enough & of]) for of in (of_windows, ~of_windows))


@dataclass(frozen=True, slots=True)
class Errors(TensorRows):
    """Changes (2N, T, C) from true labels to received ones, of clips and of their mirror images."""

    changes: Tensor

    @classmethod
    def of(cls, space: LabelSpace, received: FloatArray, true: FloatArray) -> Self:
        """Of labels (N, T, LABEL_SIZE)."""
        lag = round(LAG_S * PERCEIVED_FPS)
        pairs = zip(both_sides(space, received[:, lag:]), both_sides(space, true[:, :-lag]), strict=True)
        return cls(torch.cat([change(*map(poses_of, pair)) for pair in pairs]))

    def moments(self, ages_s: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Changes (B, …, C) at some ages (B, …) of labels, below 0 for what comes later; each person's are of one clip.

        A clip goes on backwards at its ends.
        """
        count, last = len(ages_s[0]), self.changes.shape[1] - 1
        clip = torch.randint(len(self), (count,), generator=generator)
        newest = torch.randint(last + 1, (count,), generator=generator)
        made = []
        for ages in ages_s:
            frame = (_behind(newest, ages) - (PERCEIVED_FPS * ages).round().long()) % (2 * last)
            made.append(self.changes[_behind(clip, ages), torch.minimum(frame, 2 * last - frame)])
        return made


def both_sides(space: LabelSpace, labels: FloatArray) -> tuple[Tensor, Tensor]:
    """Labels (N, T, LABEL_SIZE), and those of the mirror images."""
    own = torch.from_numpy(labels)
    return own, space.encode(space.decode(own.flatten(0, 1)).mirrored()).view_as(own)


def poses_of(labels: Tensor) -> Poses:
    """Of labels (…, LABEL_SIZE)."""
    turn, place = decode_root(labels.flatten(0, -2)[:, group_slices()["root"]])
    shape = labels.shape[:-1]
    return Poses(labels[..., POSE], turn.view(*shape, 3, 3), place.view(*shape, 3))


def received_labels(path: Path) -> tuple[FloatArray, FloatArray]:
    """Labels (N, T, LABEL_SIZE) as received and as true, of a file of `sender.train.perceived_motion`.

    Raises:
        UsageError: it is missing, or another file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            packets, sizes, true = (stored[name] for name in ("packets", "sizes", "truth"))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path} has no packets: run python -m sender.train.perceived_motion") from error
    received, ends = np.zeros(true.shape, np.float32), sizes.cumsum().reshape(sizes.shape)
    for clip, labels in enumerate(received):
        decoder, motion = FrameCodec(bytes(MODEL_HASH_SIZE)), SessionMotion()
        for frame, end in enumerate(ends[clip].tolist()):
            payload = packets[end - sizes[clip, frame] : end].tobytes()
            (person,) = motion.process(decoder.decode(payload, frame)).frame.people
            labels[frame] = concatenate(person.labels)
    return received, true


class Joints(nn.Module):
    """Joints of the mean body, and its tips."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__()
        self.space, self.body = space, BodyModel.load()
        self.tip_of = [JOINT_INDEX[name] for name in TIPS]
        tips = np.stack(list(TIPS.values())) - REST_POSITIONS[self.tip_of]
        self.register_buffer("tips", torch.from_numpy(tips).float()[..., None])

    def forward(self, poses: Poses, size: Tensor) -> Tensor:
        """(B, 27, 3) in camera space, metres, of poses (B,) of people so many times as large (B,) as the mean body."""
        body = self.space.decode(F.pad(poses.entries, (POSE.start, LABEL_SIZE - POSE.stop)))
        rotations = torch.cat([poses.orientation[:, None], body.rotations[:, 1:]], 1)
        joints, turns = self.body.forward_kinematics(replace(body, rotations=rotations))
        tips = joints[:, self.tip_of] + (turns[:, self.tip_of] @ self.get_buffer("tips"))[..., 0]
        own = torch.cat([joints[:, : len(JOINTS)], tips], 1)
        return poses.position[:, None] + size[:, None, None] * (own - own[:, :1])


if __name__ == "__main__":
    raise SystemExit(main(MotionTraining))
