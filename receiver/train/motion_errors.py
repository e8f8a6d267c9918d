"""What perception gets wrong about people who move: errors that last, and that depend on the pose.

They are those of the packets of `sender.train.perceived_motion`, as a receiver decodes and completes them.

Shapes: N clips, each of them also mirrored, T frames, B samples, C = 67 numbers of a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.label_space import LabelSpace, decode_root
from common.body.model import axis_angle_to_matrix, matrix_to_axis_angle
from common.codec.frame_codec import MODEL_HASH_SIZE, FrameCodec
from common.errors import UsageError
from common.labels import concatenate, group_slices
from common.motion.network import POSE, POSE_SIZE, Poses
from common.tensor_rows import TensorRows
from receiver.motion.session_motion import SessionMotion

FPS: Final = 30
LAG_S: Final = 1 / 30
"""How long received labels are behind the truth, seconds, because they are smoothed; measured on validation clips."""
_ROOT: Final = group_slices()["root"]


@dataclass(frozen=True, slots=True)
class Errors(TensorRows):
    """Received labels minus the truth (2N, T, C): entries, a rotation vector and a displacement in camera axes."""

    changes: Tensor

    @classmethod
    def of(cls, received: FloatArray, true: FloatArray) -> Self:
        """Of labels (N, T, LABEL_SIZE)."""
        lag, space = round(LAG_S * FPS), LabelSpace.load()
        pair = [torch.from_numpy(each) for each in (received[:, lag:], true[:, :-lag])]
        mirrored = [space.encode(space.decode(each.flatten(0, 1)).mirrored()).view_as(each) for each in pair]
        return cls(torch.cat([_change(*each) for each in (pair, mirrored)]))

    def moments(self, ages_s: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Changes (B, …, C) at some ages (B, …) of labels, below 0 for what comes later; each person's are of one clip.

        A clip goes on backwards at its ends.
        """
        count, last = len(ages_s[0]), self.changes.shape[1] - 1
        clip = torch.randint(len(self), (count,), generator=generator)
        newest = torch.randint(last + 1, (count,), generator=generator)
        made = []
        for ages in ages_s:
            behind = (count, *[1] * (ages.dim() - 1))
            frame = (newest.view(behind) - (FPS * ages).round().long()) % (2 * last)
            made.append(self.changes[clip.view(behind), torch.minimum(frame, 2 * last - frame)])
        return made


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
    ends = sizes.cumsum().reshape(sizes.shape)
    clips = (
        [packets[begin:end].tobytes() for begin, end in zip(*each, strict=True)]
        for each in zip(ends - sizes, ends, strict=True)
    )
    return np.stack([_received(each) for each in clips]), true


def with_errors(poses: Poses, changes: Tensor) -> Poses:
    """Poses (…) with changes (…, C)."""
    entries, turn, place = changes.split((POSE_SIZE, 3, 3), -1)
    return Poses(poses.entries + entries, axis_angle_to_matrix(turn) @ poses.orientation, poses.position + place)


def _received(payloads: Sequence[bytes]) -> FloatArray:
    """(T, LABEL_SIZE) of the one person in each packet of a session."""
    decoder, motion = FrameCodec(bytes(MODEL_HASH_SIZE)), SessionMotion()
    frames = (motion.process(decoder.decode(payload, n)).frame for n, payload in enumerate(payloads))
    return np.stack([concatenate(person.labels) for frame in frames for person in frame.people])


def _change(received: Tensor, true: Tensor) -> Tensor:
    """(N, T, C) between labels (N, T, LABEL_SIZE)."""
    (turn, place), (true_turn, true_place) = (
        decode_root(labels.flatten(0, 1)[:, _ROOT]) for labels in (received, true)
    )
    columns = (received - true).flatten(0, 1)[:, POSE], matrix_to_axis_angle(turn @ true_turn.mT), place - true_place
    return torch.cat(columns, 1).view(*received.shape[:2], -1)
