"""The facial actions: readings of a network and of distances between landmarks, less what a face is like at rest.

    aligned face ─ principal components z ─ z − n ─┐
    the head's rotation ───────────────────────────┴─ two hidden layers ─┬─ readings ─ less their rest ─ activations
    between the lips, between the lids ──────────────────────────────────┘

n is the mean face of people who do nothing.  People differ from it: whoever has a long lower lip would talk all the
time.  The resting level of a reading is a quantile of its own distribution over time, which is robust against what is
done for a share of the time: a histogram that forgets, and begins with that of people.

    distances between lids ─ less their rest ─ both eyes together ─ steady ─ activations

Blinks are changes of an opening that is one's own: Soukupová and Čech, *Real-time eye blink detection using facial
landmarks*, 2016.  The network reads lids from the whole face, and closes them when a hand is before the mouth.
Constants were chosen on rendered heads that do what recorded faces do.

Shapes: B faces, F features of an aligned face, K components, A = 52 actions; N readings in as many histograms.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.weights.loader import load_recorded
from sender.face.landmarks import FEATURES, POINTS, AlignedFace, Alignment
from sender.perception.crop import USUAL_STEP_S

WEIGHTS_NAME = "face"
KIND = "facial actions"
_ROTATION = 9
_JAW = FACIAL_ACTIONS.index("jawOpen")
LIDS = [FACIAL_ACTIONS.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
# Of 500 rendered heads: an open jaw parts the lips so far; of 76 photographed people: so far are the lids of open eyes.
_LIPS_MM, _LIDS_MM = 23.0, 6.4
# So many times what the lips say is jawOpen at most.
_MOST_JAW = 2.0


@dataclass(frozen=True, slots=True)
class FaceActionsConfig:
    """Sizes of the network."""

    components: int = 80
    width: int = 160


class FaceActions(nn.Module):
    """Aligned face → activations; with the template that faces are aligned to."""

    template: Tensor
    weights: Tensor
    mean: Tensor
    basis: Tensor
    neutral: Tensor
    effects: Tensor
    read: Tensor

    def __init__(self, config: FaceActionsConfig) -> None:
        super().__init__()
        count = len(FACIAL_ACTIONS)
        self.config = config
        # Metres, from its mean.
        self.register_buffer("template", torch.zeros(POINTS, 3))
        self.register_buffer("weights", torch.ones(POINTS))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("basis", torch.zeros(FEATURES, config.components))
        # Of people on the whole: real faces are not the body's mean head.
        self.register_buffer("neutral", torch.zeros(config.components))
        # Of activations on z, by which a head is told from what its face does (`sender.face.head`).
        self.register_buffer("effects", torch.zeros(count, config.components))
        # 1 for the actions that pictures show; the others are worse than none.
        self.register_buffer("read", torch.ones(count))
        self.layers = nn.Sequential(
            nn.Linear(config.components + _ROTATION, config.width),
            nn.GELU(),
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.Linear(config.width, count),
        )

    @classmethod
    def load(cls) -> Self:
        """With the shipped weights; raises WeightsError where they are missing or of another version."""
        return load_recorded(WEIGHTS_NAME, KIND, FaceActionsConfig, cls)

    def alignment(self) -> Alignment:
        """Lays faces over the template."""
        return Alignment(self.template.numpy(), self.weights.numpy())

    def components(self, features: Tensor) -> Tensor:
        """z (B, K) of features (B, F)."""
        return (features - self.mean) @ self.basis

    def forward(self, differences: Tensor, rotation: Tensor) -> Tensor:
        """Activations (B, A), not limited to 0…1.

        Args:
            differences: (B, K) components z less the neutral n.
            rotation: (B, 3, 3) of the head.
        """
        activations: Tensor = self.layers(torch.cat([differences, rotation.flatten(1)], dim=1))
        return activations * self.read

    def readings(self, face: AlignedFace, neutral: Tensor) -> FloatArray:
        """What a face shows of each action, (A,): about 0 at rest and 1 at most, not limited.

        Of jaw and lids, the mean of both readings is taken, whose errors differ.  Lips that touch are no open mouth,
        however long the chin.

        Args:
            neutral: (K,) n.
        """
        z = self.components(torch.from_numpy(face.features)[None])
        readings: FloatArray = self(z - neutral, torch.from_numpy(face.rotation)[None])[0].numpy()
        readings[LIDS] = (readings[LIDS] + lids_closed(face)) / 2
        parted = face.lips_mm / _LIPS_MM
        readings[_JAW] = min((readings[_JAW] + parted) / 2, _MOST_JAW * parted)
        return readings


def lids_closed(face: AlignedFace) -> FloatArray:
    """(2,) by the distances between the lids of the left and the right eye alone: 0 open … 1 closed, not limited."""
    return np.asarray(1 - face.lids_mm / _LIDS_MM, np.float32)


_MEMORY_S = 60.0
_LOWEST, _HIGHEST, _BINS = -0.75, 1.25, 80


class RestingLevels:
    """Of one person.

    Args:
        quantiles: (N,) of each reading's distribution, where it rests.
        spreads: (N,) standard deviations among people of resting readings, whose quantiles are 0.
        prior_s: seconds as which people count.
    """

    def __init__(self, quantiles: Float64Array, spreads: Float64Array, prior_s: float) -> None:
        self._quantiles = quantiles
        edges, rows = np.linspace(_LOWEST, _HIGHEST, _BINS + 1), list[Float64Array]()
        for quantile, deviation in zip(quantiles, spreads, strict=True):
            normal = NormalDist(-deviation * NormalDist().inv_cdf(float(quantile)), float(deviation))
            rows.append(np.diff([normal.cdf(edge) for edge in edges]) + 1e-6)
        # (N, bins) of each reading.
        self._seconds = prior_s * np.asarray(rows)
        self._rows = np.arange(len(quantiles))

    def learn(self, readings: FloatArray, step_s: float) -> None:
        """Takes the readings (N,) of so many seconds."""
        self._seconds *= np.exp(-step_s / _MEMORY_S)
        places = (readings - _LOWEST) * (_BINS / (_HIGHEST - _LOWEST))
        self._seconds[self._rows, np.clip(places, 0, _BINS - 1).astype(np.intp)] += step_s

    @property
    def levels(self) -> Float64Array:
        """(N,) readings at rest."""
        below = np.cumsum(self._seconds, axis=1)
        sought = self._quantiles * below[:, -1]
        place = (below < sought[:, None]).sum(axis=1)
        # In the bin, evenly.
        share = 1 - (below[self._rows, place] - sought) / self._seconds[self._rows, place]
        return np.asarray(_LOWEST + (place + share) * ((_HIGHEST - _LOWEST) / _BINS))


# Standard deviation among people of open eyes, and the farthest from 0 that they are believed to be.
_LID_SPREAD, _LID_FARTHEST = 0.19, 0.45
# Whoever comes is taken as with open eyes: people count as so many seconds.
_LID_PRIOR_S = 1e-3
# Eyes that look up are wider open, and blink from there: in a second, what is usual of late goes so far towards now.
_RECENT_PER_S = 1.0
# What is no more than rest, and what is a closed eye, of the way from rest to 1.
_LID_DEAD, _CLOSED = 0.1, 0.4
# Of a change d, d²/(d² + σ²) is followed; σ is so many times what changes from frame to frame, of late and at first.
_JITTER, _JITTER_S, _AT_FIRST = 3.0, 1.1, 0.03
# A change counts as so many usual ones at most: a blink is no jitter.  Landmarks that do not move at all are copies.
_MOST_CHANGE, _LEAST_JITTER = 3.0, 0.01
# Lids move together: of a difference d between them, d²/(d² + σ²) is one.
_APART = 0.25
# Of a head turned so far, radians, the other eye is hardly seen: both lids are those of the nearer one.
_PROFILE = 0.6


class Lids:
    """Of one person, from frame to frame."""

    def __init__(self) -> None:
        self._resting = RestingLevels(np.full(2, 0.5), np.full(2, _LID_SPREAD), _LID_PRIOR_S)
        self._both, self._apart = _Steady(), _Steady()
        self.lose()

    def lose(self) -> None:
        """Forgets what they did last; what is usual stays."""
        self._recent: FloatArray | None = None
        self._both.value = self._apart.value = None

    def follow(self, closed: FloatArray, rotation: FloatArray, step_s: float) -> FloatArray:
        """What lids do in the next frame, (2,) of the left and the right eye, 0 open … 1 closed.

        Args:
            closed: (2,) readings of their distances: 0 open … 1 closed, not limited.
            rotation: (3, 3) of the head.
            step_s: from the frame before.
        """
        self._resting.learn(closed, step_s)
        recent = closed if self._recent is None else self._recent
        rest = np.minimum(self._resting.levels.clip(-_LID_FARTHEST, _LID_FARTHEST), recent)
        farthest = _RECENT_PER_S * step_s
        self._recent = recent + (closed - recent).clip(-farthest, farthest)
        share = _share_of_left(rotation)
        both, apart = _together((closed - rest) / (1 - rest), share)
        lids = _each(self._both.follow(both, step_s), self._apart.follow(apart, step_s), share)
        return np.asarray(((lids - _LID_DEAD) / (_CLOSED - _LID_DEAD)).clip(0, 1), np.float32)


class _Steady:
    """A value whose jitter is smoothed."""

    def __init__(self) -> None:
        self.value: float | None = None
        self._last, self._jitter = 0.0, _AT_FIRST

    def follow(self, now: float, step_s: float) -> float:
        """The value in the next frame."""
        if self.value is None:
            self.value = self._last = now
        jitter = min(abs(now - self._last), _MOST_CHANGE * self._jitter)
        jitter = self._jitter + (jitter - self._jitter) * (1 - math.exp(-step_s / _JITTER_S))
        self._jitter, self._last = max(jitter, _LEAST_JITTER), now
        change, variance = now - self.value, (_JITTER * self._jitter) ** 2
        # Of frames that follow each other faster, each says less that is new.
        ignored = (variance / (change**2 + variance)) ** min(step_s / USUAL_STEP_S, 1.0)
        self.value += change * (1 - ignored)
        return self.value


def lids_of_still(readings: FloatArray, rotation: FloatArray) -> FloatArray:
    """(2,) of a picture of its own, which has no history, of readings (2,); otherwise as `Lids.follow`."""
    share = _share_of_left(rotation)
    return np.asarray(_each(*_together(readings, share), share).clip(0, 1), np.float32)


def _share_of_left(rotation: FloatArray) -> float:
    """How much the left eye tells of both, 0…1."""
    # The back of the head, +z, is on the other side of where the nose points.
    yaw = math.atan2(float(rotation[0, 2]), float(rotation[2, 2]))
    return 0.5 + 0.5 * max(min(yaw / _PROFILE, 1.0), -1.0)


def _together(each: FloatArray, share: float) -> tuple[float, float]:
    """Of the left and the right eye (2,), what both do, and how far they are apart, as far as both are seen."""
    left, right = each.tolist()
    apart = left - right
    seen = 2 * min(share, 1 - share) * apart**2 / (apart**2 + _APART**2)
    return share * left + (1 - share) * right, seen * apart


def _each(both: float, apart: float, share: float) -> FloatArray:
    """(2,) the left and the right eye of `_together`."""
    return np.array([both + (1 - share) * apart, both - share * apart], np.float32)


# Of recordings in which two people make every expression, each action that is read is at rest in 0.3 of the time.
_QUANTILE = 0.3
# Standard deviations among people of resting readings, and the farthest that one is believed to be from the mean.
_NEUTRAL_SPREAD, _JAW_SPREAD = 0.08, 0.03
_NEUTRAL_FARTHEST, _JAW_FARTHEST = 0.45, 0.11
# What is no more than noise, of the way from rest to 1.  Lips: a millimetre.
_NEUTRAL_DEAD, _JAW_DEAD = 0.06, 0.045
# People count as so many seconds.
_NEUTRAL_PRIOR_S = 0.3

_NAMES = np.array(FACIAL_ACTIONS)
_OF_JAW, _GAZE = (np.char.startswith(_NAMES, name) for name in ("jawOpen", "eyeLook"))
_CLOSE = _NAMES == "mouthClose"


class NeutralFace:
    """Of one person."""

    # Where people look is no part of their faces.
    _farthest = np.select([_GAZE, _OF_JAW], [0.0, _JAW_FARTHEST], _NEUTRAL_FARTHEST)
    _dead = np.select([_GAZE, _OF_JAW], [0.0, _JAW_DEAD], _NEUTRAL_DEAD)

    def __init__(self) -> None:
        spreads = np.where(_OF_JAW, _JAW_SPREAD, _NEUTRAL_SPREAD)
        self._levels = RestingLevels(np.full(len(_NAMES), _QUANTILE), spreads, _NEUTRAL_PRIOR_S)

    def learn(self, readings: FloatArray, step_s: float) -> None:
        """Takes the readings (A,) of so many seconds."""
        self._levels.learn(readings, step_s)

    @property
    def resting(self) -> FloatArray:
        """(A,) readings at rest."""
        return np.asarray(self._levels.levels.clip(-self._farthest, self._farthest), np.float32)

    def activations(self, readings: FloatArray) -> FloatArray:
        """(A,) 0…1: how far readings (A,) are from rest."""
        acted = (readings - self.resting) / (1 - self.resting)
        activations = ((acted - self._dead) / (1 - self._dead)).clip(0, 1)
        # It brings the lips of an open jaw together, and means nothing alone.
        activations[_CLOSE] = np.minimum(activations[_CLOSE], activations[_OF_JAW])
        return np.asarray(activations, np.float32)
