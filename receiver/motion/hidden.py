"""Limbs that nobody has seen.

What nobody saw of people is generated: limbs that the sender says it does not see (`common.frames.unseen_limbs`).

Their pose is a sample of the mixture (`receiver.motion.mixture`), given what is seen, which the diffusion
(`receiver.motion.mixture`) brings near real poses.  It stays while the person does what they do: the component k
changes if another one is clearly likelier for a while, and the pose of the same ε follows the seen body only where that
really moves.  A limb goes from where it was last seen to its generated pose, and
back, without a jump.  Unseen legs stand where they are (`receiver.motion.legs`).  Of a head and shoulders, a sample
would do something with its arms, such as cross them: they hang until something is seen of them.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.frames import PersonLabels, unseen_limbs
from common.labels import concatenate, group_slices
from common.motion.network import POSE
from common.motion.steps import Blend, share_of_way
from receiver.motion.legs import LEGS, Legs, Pelvis
from receiver.motion.mixture import (
    DOWN,
    ENTRIES,
    SIZE,
    SPEED_S,
    PaperDiffusion,
    PoseDiffusion,
    PoseMixture,
    PoseRefiner,
    load_denoiser,
    speed_of,
)

ARMS: Final = ("left_arm", "right_arm")
# From the A-pose at rest: upper arms turn down beside the trunk, and elbows are straighter; radians.
_DOWN, _STRAIGHTER = 0.6, 0.4


def hanging(space: LabelSpace) -> dict[str, Float64Array]:
    """The entries of both arms where they hang."""
    body = BodyParameters.rest()
    for side, sign in (("L", 1.0), ("R", -1.0)):
        turns = {"upperarm01": [0.0, 0.0, sign * _DOWN], "lowerarm01": [_STRAIGHTER, 0.0, 0.0]}
        for bone, vector in turns.items():
            body.rotations[0, JOINT_INDEX[f"{bone}.{side}"]] = axis_angle_to_matrix(torch.tensor(vector))
    with torch.inference_mode():
        labels = space.encode(body)[0].double().numpy()
    return {name: labels[group_slices()[name]] for name in ARMS}


_SHAPE = group_slices()["shape"]
_GOING_S: Final = 0.7  # a limb goes for so long from where it was last seen to its generated pose
_COMING_S: Final = 0.15  # it comes back within this time
_CHANGING_S: Final = 0.6  # it changes to the pose of another component within this time
_LIKELY_S: Final = 0.7  # time constant of the mean of what is likely
_SEEN_S: Final = 0.4  # time constant of the mean of what is seen
_FOLLOWING_S: Final = 0.4  # time constant of displayed entries that follow the generated pose
_MOVED: Final = 0.4  # change of the mixture's sample from which on it is followed: standard deviations of an entry
_MOST: Final = 8.0  # largest entry of a pose: what is seen may be labels of damaged packets
_PATH_FRAMES: Final = 120  # `SPEED_S` at 240 frames a second; times of capture may also stand still


@dataclass(slots=True, eq=False)
class LimbCompletion:
    """What is remembered of a person's limbs.

    Args:
        gumbel, noise: what the identity's seed draws (`PoseMixture.drawn`).

    Attributes:
        hidden: the groups that nobody sees.
        arms_seen: the arms that were seen, ever.
        log_shares: (K,) the mean of log π_k.
        seen: (D,) the mean of x as it is seen.
        component: k.
        mixture_sample: (D,) the sample of the mixture that the pose was made of.
        generated: (D,) the pose, which `following` goes to.
        displayed: (D,) the entries of x that were displayed last.
        pelvis, leashed: the pelvis, and the one that unseen legs hang on.
        path: positions of the pelvis over the last `SPEED_S`, and their times; fewer seconds of faster cameras.
    """

    gumbel: Float64Array
    noise: Float64Array
    at_s: float = -np.inf
    hidden: frozenset[str] = frozenset()
    arms_seen: frozenset[str] = frozenset()
    log_shares: Float64Array = field(default_factory=lambda: np.zeros(0))
    seen: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    component: int | None = None
    mixture_sample: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    generated: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    following: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    displayed: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    blends: dict[str, Blend] = field(default_factory=dict)
    pelvis: Pelvis | None = None
    leashed: Pelvis | None = None
    path: deque[tuple[float, Float64Array]] = field(default_factory=partial(deque, maxlen=_PATH_FRAMES))

    def speed(self, position: Float64Array, now_s: float) -> float:
        """The entry of x for the speed of the pelvis, which is now here; people stand still until it is known."""
        if not self.path or now_s > self.path[-1][0]:
            self.path.append((now_s, position))
        while now_s - self.path[0][0] > SPEED_S:
            self.path.popleft()
        since_s, start = self.path[0]
        return float(speed_of((position - start) * (SPEED_S / max(now_s - since_s, SPEED_S / 2))))

    def notice(self, x: Float64Array, log_shares: Float64Array, now_s: float, *, fresh: bool) -> None:
        """Adds what is seen now to the means."""
        passed_s = now_s - self.at_s
        self.seen = x if fresh else _towards(self.seen, x, share_of_way(passed_s, _SEEN_S))
        likely = log_shares if fresh else _towards(self.log_shares, log_shares, share_of_way(passed_s, _LIKELY_S))
        self.log_shares = likely


def _towards(mean: Float64Array, value: Float64Array, share: float) -> Float64Array:
    return np.asarray(mean + share * (value - mean))


class HiddenLimbs:
    """Completes people of any sessions, frame after frame.

    Args:
        refiner: brings samples of the mixture near real poses; None leaves them.

    Attributes:
        legs: of the body model.
    """

    def __init__(self, space: LabelSpace, body: BodyModel, mixture: PoseMixture, refiner: PoseRefiner | None) -> None:
        self.legs, self._hanging = Legs(space, body), hanging(space)
        self._mixture, self._refiner = mixture, refiner

    def complete(
        self, labels: PersonLabels, limbs: LimbCompletion | None, now_s: float
    ) -> tuple[PersonLabels, LimbCompletion]:
        """The person with generated labels for the limbs that nobody sees, and what the next frame is completed with.

        Args:
            limbs: of the frame before; None of somebody who is new.
        """
        limbs = LimbCompletion(*self._mixture.drawn(labels.identity)) if limbs is None else limbs
        unseen = unseen_limbs(labels)
        hidden = unseen | ({"hands"} if unseen.issuperset(ARMS) else set())
        limbs.arms_seen |= set(ARMS) - hidden
        vector = concatenate(labels.labels)
        aim = vector[POSE].astype(np.float64)
        if not (hidden or limbs.hidden or limbs.blends):
            limbs.displayed, limbs.at_s = aim, now_s
            return labels, limbs
        jumps = self._generate(limbs, labels, hidden, vector, now_s)
        for name in hidden:
            aim[ENTRIES[name]] = limbs.following[ENTRIES[name]]
        if hidden.issuperset(LEGS):
            for name in hidden.intersection(ARMS) - limbs.arms_seen:
                aim[ENTRIES[name]] = self._hanging[name]
        if not hidden.isdisjoint(LEGS):
            self._stand(limbs, hidden, aim, vector[_SHAPE])
        completed = self._blended(limbs, aim, jumps, now_s)
        limbs.displayed, limbs.at_s, limbs.hidden = completed, now_s, hidden
        changed = hidden | limbs.blends.keys()
        known = {name: completed[ENTRIES[name]].astype(np.float32) for name in changed}
        return replace(labels, labels={**labels.labels, **known}), limbs

    def _generate(
        self, limbs: LimbCompletion, labels: PersonLabels, hidden: frozenset[str], vector: FloatArray, now_s: float
    ) -> Mapping[str, float]:
        """Updates mode and sample; returns the groups whose aim jumps, and how long they take for it."""
        jumps = dict.fromkeys(limbs.hidden - hidden, _COMING_S)
        jumps |= dict.fromkeys(hidden - limbs.hidden, _GOING_S)
        if not hidden:
            limbs.component = limbs.leashed = None
            return jumps
        pelvis = Pelvis.of(vector)
        limbs.leashed = pelvis if limbs.leashed is None else limbs.leashed.dragged(pelvis)
        limbs.pelvis, speed = pelvis, limbs.speed(pelvis.position, now_s)
        x = np.concatenate([vector[POSE], pelvis.down, [speed]])
        known = frozenset(hidden & labels.labels.keys())
        given = self._mixture.given(hidden, known)
        before, fresh = limbs.component, limbs.component is None or hidden != limbs.hidden
        limbs.notice(x, given.log_shares(x), now_s, fresh=fresh)
        limbs.component = self._mixture.chosen(limbs.log_shares, limbs.gumbel, before)
        start = np.zeros(SIZE)
        start[given.hidden] = given.sample(limbs.seen, limbs.component, limbs.noise[0])
        jumps_to = fresh or limbs.component != before
        if jumps_to or np.abs(start - limbs.mixture_sample).max() > _MOVED:
            limbs.mixture_sample, limbs.generated = start, self._pose(limbs, start, hidden, known)
        if jumps_to:
            limbs.following = limbs.generated
            return dict.fromkeys(hidden, _CHANGING_S) | jumps
        share = share_of_way(now_s - limbs.at_s, _FOLLOWING_S)
        limbs.following = _towards(limbs.following, limbs.generated, share)
        return jumps

    def _pose(
        self, limbs: LimbCompletion, start: Float64Array, hidden: frozenset[str], known: frozenset[str]
    ) -> Float64Array:
        """(D,) a pose that bodies take, near a sample of the mixture."""
        assert limbs.component is not None
        mode = int(self._mixture.modes[limbs.component])
        pose = start
        if self._refiner is not None:
            pose = self._refiner.refined(start, limbs.seen, hidden, known, mode, limbs.noise[1])
        pose = pose.clip(-_MOST, _MOST)
        if hidden.issuperset(LEGS):
            legs = self.legs.within_limits(np.stack([pose[ENTRIES[name]] for name in LEGS]))
            for name, row in zip(LEGS, legs, strict=True):
                pose[ENTRIES[name]] = row
        return pose

    @staticmethod
    def _blended(limbs: LimbCompletion, aim: Float64Array, jumps: Mapping[str, float], now_s: float) -> Float64Array:
        """(D,) the aim, and what is left of the way there."""
        if np.isfinite(limbs.at_s):
            for name, takes_s in jumps.items():
                offset = limbs.displayed[ENTRIES[name]] - aim[ENTRIES[name]]
                limbs.blends[name] = Blend(offset, limbs.at_s, takes_s)
        completed = aim.copy()
        for name, blend in list(limbs.blends.items()):
            left = blend.left(now_s)
            completed[ENTRIES[name]] += left * blend.offset
            if not left:
                del limbs.blends[name]
        return completed

    def _stand(self, limbs: LimbCompletion, hidden: frozenset[str], x: Float64Array, shape: FloatArray) -> None:
        """Lets unseen legs stand where they are, in place."""
        assert limbs.leashed is not None and limbs.pelvis is not None
        legs = np.stack([x[ENTRIES[name]] for name in LEGS])
        # The error of the pelvis's tilt does not tilt the legs: they stand below it as the sample has it.
        held = limbs.leashed.tilted(limbs.following[DOWN])
        for name, row in zip(LEGS, self.legs.standing(legs, shape, held, limbs.pelvis), strict=True):
            if name in hidden:
                x[ENTRIES[name]] = row


@cache
def load_completion(diffusion: str | None = "learned") -> HiddenLimbs:
    """With the package's weights, loaded once. Raises WeightsError if they are missing or of another version.

    Args:
        diffusion: as `--motion` has it; None for samples of the mixture as they are.
    """
    refiners: Mapping[str | None, type[PoseRefiner]] = {"learned": PoseDiffusion, "paper": PaperDiffusion}
    refiner = refiners[diffusion](load_denoiser()) if diffusion in refiners else None
    return HiddenLimbs(LabelSpace.load(), BodyModel.load(), PoseMixture.load(), refiner)
