"""What nobody saw of people is generated: limbs that the sender says it does not see (`common.frames.unseen_limbs`).

Their pose is a sample of the mixture (`receiver.motion.mixture`), given what is seen, which the diffusion
(`receiver.motion.diffusion`) brings near real poses.  It stays while the person does what they do: the component k
changes if another one is clearly likelier for a while, and the pose of the same ε follows the seen body only where that
really moves.  A limb goes from where it was last seen to its generated pose, and
back, without a jump.  Unseen legs stand where they are (`receiver.motion.legs`).  Of a head and shoulders, a sample
would do something with its arms, such as cross them: they hang until something is seen of them.
"""

import functools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import LabelFrame, PersonLabels, unseen_limbs
from common.labels import LIMBS, concatenate, group_slices
from common.motion.history import POSE
from common.motion.steps import Blend, share_of_way
from receiver.motion.absent import ABSENT_S
from receiver.motion.arms import ARMS, hanging
from receiver.motion.diffusion import PaperDiffusion, PoseDiffusion, PoseRefiner, load_denoiser
from receiver.motion.legs import LEGS, Legs, Pelvis
from receiver.motion.mixture import DOWN, ENTRIES, SIZE, SPEED_S, PoseMixture, speed_of

_GROUPS = (*LIMBS, "hands")
_SHAPE = group_slices()["shape"]
# Seconds in which a limb goes from where it was last seen to its generated pose, comes back, and changes the mode.
_GOING_S, _COMING_S, _CHANGING_S = 0.7, 0.15, 0.6
# Time constants of the means of what is likely, and of what is seen; of a sample that follows the seen body.
_LIKELY_S, _SEEN_S, _FOLLOWING_S = 0.7, 0.4, 0.4
# Change of the mixture's sample from which on it is followed: standard deviations of an entry.
_MOVED = 0.4
# Largest entry of a pose: what is seen may be labels of damaged packets.
_MOST = 8.0
# `SPEED_S` at 240 frames a second; times of capture may also stand still.
_PATH_FRAMES = 120


@dataclass(eq=False)
class _Person:
    """What is remembered of a person.

    Attributes:
        hidden: the groups that nobody sees.
        moved: the arms that were seen, ever.
        likely: (K,) the mean of log π_k.
        x: (D,) the mean of what is seen.
        k: the component.
        start: (D,) the sample of the mixture that the pose was made of.
        pose: (D,) the generated entries, which `sample` goes to.
        shown: (D,) what was shown last.
        pelvis, held: the pelvis, and the one that unseen legs hang on.
        path: positions of the pelvis over the last `SPEED_S`, and their times; fewer seconds of faster cameras.
    """

    gumbel: Float64Array
    noise: Float64Array
    at_s: float = -np.inf
    hidden: frozenset[str] = frozenset()
    moved: set[str] = field(default_factory=set)
    likely: Float64Array = field(default_factory=lambda: np.zeros(0))
    x: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    k: int | None = None
    start: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    pose: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    sample: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    shown: Float64Array = field(default_factory=lambda: np.zeros(SIZE))
    blends: dict[str, Blend] = field(default_factory=dict)
    pelvis: Pelvis | None = None
    held: Pelvis | None = None
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
        self.x = x if fresh else _towards(self.x, x, share_of_way(passed_s, _SEEN_S))
        self.likely = log_shares if fresh else _towards(self.likely, log_shares, share_of_way(passed_s, _LIKELY_S))


def _towards(mean: Float64Array, value: Float64Array, share: float) -> Float64Array:
    return np.asarray(mean + share * (value - mean))


@functools.cache
def learned() -> tuple[PoseMixture, Legs, Mapping[str, Float64Array], Mapping[str, PoseRefiner]]:
    """What all sessions share, loaded once. Raises WeightsError if weights are missing or of another version."""
    denoiser = load_denoiser()
    refiners: Mapping[str, PoseRefiner] = {"learned": PoseDiffusion(denoiser), "paper": PaperDiffusion(denoiser)}
    space = LabelSpace.load()
    return PoseMixture.load(), Legs(space, BodyModel.load()), hanging(space), refiners


class HiddenLimbs:
    """Completes the people of a source, frame after frame.

    Args:
        diffusion: which one brings samples of the mixture near real poses, as `--motion` has it; None leaves them.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, diffusion: str | None = "learned") -> None:
        self._mixture, self._legs, self._hanging, refiners = learned()
        self._refiner = None if diffusion is None else refiners[diffusion]
        self._people: dict[int, _Person] = {}

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame with generated labels for the limbs of its people that nobody sees; call it in order."""
        people = tuple(self._completed(person, frame.captured_at) for person in frame.people)
        return replace(frame, people=people)

    def _completed(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        unseen = unseen_limbs(labels)
        hidden = unseen | ({"hands"} if unseen.issuperset(ARMS) else set())
        person = self._people.get(labels.identity)
        if person is None or not 0 <= now_s - person.at_s <= ABSENT_S:
            person = _Person(*self._mixture.drawn(labels.identity))
            self._people[labels.identity] = person
        person.moved |= set(ARMS) - hidden
        vector = concatenate(labels.labels)
        aim = vector[POSE].astype(np.float64)
        if not (hidden or person.hidden or person.blends):
            person.shown, person.at_s = aim, now_s
            return labels
        jumps = self._generate(person, labels, hidden, vector, now_s)
        for name in hidden:
            aim[ENTRIES[name]] = person.sample[ENTRIES[name]]
        if hidden.issuperset(LEGS):
            for name in hidden.intersection(ARMS) - person.moved:
                aim[ENTRIES[name]] = self._hanging[name]
        if not hidden.isdisjoint(LEGS):
            self._stand(person, hidden, aim, vector[_SHAPE])
        completed = self._blended(person, aim, jumps, now_s)
        person.shown, person.at_s, person.hidden = completed, now_s, hidden
        changed = hidden | person.blends.keys()
        known = {name: completed[ENTRIES[name]].astype(np.float32) for name in changed}
        return replace(labels, labels={**labels.labels, **known})

    def _generate(
        self, person: _Person, labels: PersonLabels, hidden: frozenset[str], vector: FloatArray, now_s: float
    ) -> Mapping[str, float]:
        """Updates mode and sample; returns the groups whose aim jumps, and how long they take for it."""
        jumps = dict.fromkeys(person.hidden - hidden, _COMING_S)
        jumps |= dict.fromkeys(hidden - person.hidden, _GOING_S)
        if not hidden:
            person.k = person.held = None
            return jumps
        pelvis = Pelvis.of(vector)
        person.held = pelvis if person.held is None else person.held.dragged(pelvis)
        person.pelvis, speed = pelvis, person.speed(pelvis.position, now_s)
        x = np.concatenate([vector[POSE], pelvis.down, [speed]])
        known = frozenset(hidden & labels.labels.keys())
        given = self._mixture.given(hidden, known)
        before, fresh = person.k, person.k is None or hidden != person.hidden
        person.notice(x, given.log_shares(x), now_s, fresh=fresh)
        person.k = self._mixture.chosen(person.likely, person.gumbel, before)
        start = np.zeros(SIZE)
        start[given.hidden] = given.sample(person.x, person.k, person.noise[0])
        jumps_to = fresh or person.k != before
        if jumps_to or np.abs(start - person.start).max() > _MOVED:
            person.start, person.pose = start, self._pose(person, start, hidden, known)
        if jumps_to:
            person.sample = person.pose
            return dict.fromkeys(hidden, _CHANGING_S) | jumps
        share = share_of_way(now_s - person.at_s, _FOLLOWING_S)
        person.sample = _towards(person.sample, person.pose, share)
        return jumps

    def _pose(
        self, person: _Person, start: Float64Array, hidden: frozenset[str], known: frozenset[str]
    ) -> Float64Array:
        """(D,) a pose that bodies take, near a sample of the mixture."""
        assert person.k is not None
        mode = int(self._mixture.modes[person.k])
        pose = start
        if self._refiner is not None:
            pose = self._refiner.refined(start, person.x, hidden, known, mode, person.noise[1])
        pose = pose.clip(-_MOST, _MOST)
        if hidden.issuperset(LEGS):
            legs = self._legs.within_limits(np.stack([pose[ENTRIES[name]] for name in LEGS]))
            for name, row in zip(LEGS, legs, strict=True):
                pose[ENTRIES[name]] = row
        return pose

    @staticmethod
    def _blended(person: _Person, aim: Float64Array, jumps: Mapping[str, float], now_s: float) -> Float64Array:
        """(D,) the aim, and what is left of the way there."""
        if np.isfinite(person.at_s):
            for name, takes_s in jumps.items():
                offset = person.shown[ENTRIES[name]] - aim[ENTRIES[name]]
                person.blends[name] = Blend(offset, person.at_s, takes_s)
        completed = aim.copy()
        for name, blend in list(person.blends.items()):
            left = blend.left(now_s)
            completed[ENTRIES[name]] += left * blend.offset
            if not left:
                del person.blends[name]
        return completed

    def _stand(self, person: _Person, hidden: frozenset[str], x: Float64Array, shape: FloatArray) -> None:
        """Lets unseen legs stand where they are, in place."""
        assert person.held is not None and person.pelvis is not None
        legs = np.stack([x[ENTRIES[name]] for name in LEGS])
        # The error of the pelvis's tilt does not tilt the legs: they stand below it as the sample has it.
        held = person.held.tilted(person.sample[DOWN])
        for name, row in zip(LEGS, self._legs.standing(legs, shape, held, person.pelvis), strict=True):
            if name in hidden:
                x[ENTRIES[name]] = row
