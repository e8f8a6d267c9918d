"""Messages a second × frames a message × ρ as one decision: what shows people with the least error.

A person is shown where the receiver predicts them, from labels whose age grows until the next message.  Most of a
message is headers and its acknowledgement, so finer labels and more frames a message mean fewer messages:

    error² = (gain · quantisation(f))² + motion(mean age)²,   mean age = round trip / 2 + space between messages / 2

Of every f the space between messages follows from what link and budget carry.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from common.codec.tables import load_allocation as rate_distortion
from common.frames import AHEAD_STEP_S, MAX_AHEAD_STEPS
from common.labels import GROUP_NAMES
from common.wire.traffic import MessageCost

MAX_F: Final = 2.0
"""Largest f of `--policy capacity`; equation (18) gives at most 1."""
# What is assumed until it is measured: headers, and a part of an acknowledgement, of QUIC (`tests.bench.wire`).
ASSUMED: Final = MessageCost(sent=55.0, answered=70.0, other_bps=0.0)
# Of a packet, besides label groups.
_HEADER_BYTES: Final = 3
# Distance of a predicted joint from the true one: so much at once, and more with each second that the newest label is
# old.  A line through ages of 67 to 400 ms on the motions of the validation split, with perception's noise and the
# network that ships; whether the labels before were 33 or 200 ms apart made no difference.
_NEW_MM: Final = 8.0
_MM_PER_S: Final = 400.0
# Prediction takes the quantiser's steps for motion: they move the skin shown so many times as far as the labels, at any
# rate (1.2 to 15 messages a second, f from 0.4 to 1.7, motions of the training and validation splits).
_GAIN: Final = 5.3
# What is recorded, and shown with a delay, is interpolated between labels: as many a second are worth a second frame in
# a message, which costs what is shown at once 2 % at most.  Where two do not suffice they cost 3 to 8 % over QUIC, at
# 2.4 and 5 kbit/s, and hardly anything where a message takes this much in any case.
_LABELS_PER_S: Final = 15.0
_MOST_FRAMES, _DEAR_MESSAGE_BYTES, _MOST_FRAMES_IF_DEAR = 2, 120.0, 4
# Labels that are so far apart are this share of it ahead of their capture: the best of 0 to 0.4 s at spacings of 0.3 to
# 1 s, on motions of the validation split, by 5 to 26 %.
_AHEAD_SHARE: Final = 0.43
_RARE_S: Final = 0.2
_F_STEP: Final = 0.1
_STEPS: Final = range(round(MAX_F / _F_STEP) + 1)


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to send with, and what to send.

    Args:
        capacity_bps: from sender to receiver, infinite if the link was never full.
        budget_bps: both ways together.
        frame_rate_hz: of the source.
        round_trip_s: with the receiver's work on a frame.
        size_ratio: bytes of a frame's labels, divided by those of the table: several people take several times as many.
        cost: of a message, besides its labels.
    """

    capacity_bps: float
    budget_bps: float
    frame_rate_hz: float
    round_trip_s: float = 0.1
    size_ratio: float = 1.0
    cost: MessageCost = ASSUMED

    def messages_per_s(self, label_bytes: float) -> float:
        """How many messages with so many bytes of labels link and budget carry."""
        alone = self.capacity_bps / (8 * (self.cost.sent + label_bytes))
        answered = (self.budget_bps - self.cost.other_bps) / (8 * (self.cost.answered + label_bytes))
        return max(min(alone, answered), 0.1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is sent from now on.

    Args:
        f: link stress, 0 to 2, from which ρ follows (`RateController.allocate`).
        frames: of a message, at most.
        error_mm: what is expected of what the receiver shows.
        ahead_steps: how far ahead of their capture the labels are (`LabelFrame.ahead_steps`).
    """

    f: float
    frames: int
    error_mm: float
    ahead_steps: int = 0


def label_bytes(f: float) -> float:
    """Mean bytes of one person's labels in a frame."""
    return _quantised(round(f / _F_STEP))[0]


def decide(means: Means) -> Decision:
    """The decision of least error."""
    return min((_option(step, means) for step in _STEPS), key=lambda one: one.error_mm)


def _option(step: int, means: Means) -> Decision:
    """What becomes of an f, which is a number of steps."""
    size, quantisation_mm = _quantised(step)
    size *= means.size_ratio
    wanted_hz, dear = min(means.frame_rate_hz, _LABELS_PER_S), means.cost.answered > _DEAR_MESSAGE_BYTES
    most = _MOST_FRAMES_IF_DEAR if dear else _MOST_FRAMES
    rates_hz = [
        min(means.messages_per_s(_HEADER_BYTES + count * size), means.frame_rate_hz) for count in range(1, most + 1)
    ]
    enough = (count for count, rate_hz in enumerate(rates_hz, 1) if count * rate_hz >= wanted_hz)
    frames = next(enough, most if dear else 1)
    messages_hz = rates_hz[frames - 1]
    age_s = means.round_trip_s / 2 + 0.5 / messages_hz
    motion_mm = _NEW_MM + _MM_PER_S * age_s
    error_mm = math.hypot(_GAIN * quantisation_mm, motion_mm)
    return Decision(step * _F_STEP, frames, error_mm, _ahead_steps(1 / messages_hz))


def _ahead_steps(apart_s: float) -> int:
    """How far ahead labels are that are so far apart."""
    return min(round(_AHEAD_SHARE * apart_s / AHEAD_STEP_S), MAX_AHEAD_STEPS) if apart_s >= _RARE_S else 0


@lru_cache(maxsize=64)
def _quantised(step: int) -> tuple[float, float]:
    """Bytes of a frame's labels, and how far their quantisation moves the surface, mm."""
    table = rate_distortion()
    rho = table.allocate(bits_at(step * _F_STEP), {}, np.zeros(len(GROUP_NAMES), np.int64))
    levels = [round(rho[name] * (table.bits.shape[1] - 1)) for name in GROUP_NAMES]
    rows = np.arange(len(levels))
    return float(table.bits[rows, levels].sum()) / 8, float(np.linalg.norm(table.mm[rows, levels]))


def bits_at(f: float) -> float:
    """Bits of a frame's labels: at f = 0 those of the finest level, at f = 2 those of the coarsest."""
    coarsest_bits, finest_bits = rate_distortion().bounds_bits
    return finest_bits * math.pow(coarsest_bits / finest_bits, f / MAX_F)
