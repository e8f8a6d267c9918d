"""Figures of the networks that generate motion, on clips of the package that no training used."""

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import Float64Array
from common.labels import group_slices
from common.motion.label_track import DampedExtrapolation, LabelTrack, MotionPredictor
from common.motion.network import POSE, LearnedMotion
from common.synthetic.dataset import Split
from common.synthetic.motion.poses import clips
from receiver.motion.legs import LEGS, Pelvis
from receiver.motion.mixture import ENTRIES, SIZE, PoseDiffusion, PoseMixture, load_denoiser, speed_of
from tests.support.motion.made_motion import labels_of

_EVERY, _AHEAD = 6, 6
_MOVING = np.r_[group_slices()["root"], POSE]
_LEG_ENTRIES = np.concatenate([ENTRIES[name] for name in LEGS])


def continued_motion() -> list[float]:
    """Error of predicted entries 0.2 s after labels at 5 a second, over that of damped extrapolation."""

    def off(predictor: MotionPredictor) -> float:
        errors = []
        for labels in map(labels_of, clips("test")):
            times_s = np.arange(len(labels)) / 30.0
            for newest in range(30, len(labels) - _AHEAD, 11):
                rows = np.arange(newest % _EVERY, newest + 1, _EVERY)
                shown = predictor.predict(LabelTrack(times_s[rows], labels[rows], 0.0), times_s[newest + _AHEAD])
                errors.append(np.abs(shown - labels[newest + _AHEAD])[_MOVING].mean())
        return float(np.mean(errors))

    return [off(LearnedMotion.load()) / off(DampedExtrapolation())]


def unseen_legs(*, refined: bool) -> list[float]:
    """Distance of generated legs from the nearest ones that are trained on, standard deviations of entries."""
    mixture, diffusion = PoseMixture.load(), PoseDiffusion(load_denoiser()) if refined else None
    real, hidden, distances = cKDTree(_legs("train")), frozenset(LEGS), []
    with np.errstate(divide="ignore"):  # the logarithm of the shares of a mixture that knows nothing
        given = mixture.given(hidden, frozenset())
    for number, labels in enumerate(np.concatenate([labels_of(clip)[::15] for clip in clips("test")])):
        gumbel, noise = mixture.drawn(number % 256)
        x = np.concatenate([labels[POSE], Pelvis.of(labels).down, [speed_of(np.zeros(3))]])
        k, sample = mixture.chosen(given.log_shares(x), gumbel), np.zeros(SIZE)
        sample[given.hidden] = given.sample(x, k, noise[0])
        if diffusion is not None:
            sample = diffusion.refined(sample, x, hidden, (), int(mixture.modes[k]), noise[1])
        distances.append(float(real.query(sample[_LEG_ENTRIES])[0]))
    return distances


def _legs(split: Split) -> Float64Array:
    """(N, 18) of every third frame."""
    return np.concatenate([labels_of(clip)[::3, POSE][:, _LEG_ENTRIES] for clip in clips(split)]).astype(np.float64)
