"""Scores of the lifting network on windows whose truth is known.

Frames count once the window before them has `_BEGIN` frames.  `one` is a window of one frame, `fitted` what was fitted
to each frame, `smoothed` these over time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sender.semantics.crop_labels import ENTRIES
from sender.semantics.lifting.network import LiftingNetwork, attention_mask, smoothed_entries
from sender.semantics.lifting.window import FITTED
from sender.train.crops.scores import procrustes
from sender.train.lifting.objective import Bodies, Posterior, likelihood, usable
from sender.train.lifting.samples import Windows

_BEGIN, _SAMPLES = 8, 5
_HIPS = slice(11, 13)


def scores(
    network: LiftingNetwork, batches: Sequence[Windows], bodies: Bodies, posterior: Posterior
) -> dict[str, float]:
    """Of windows of at least 11 frames at an even rate, causal and with the newest frame's window camera.

    Args:
        posterior: for the evidence's lower bound.

    Returns:
        `mpjpe_mm`, and `pa_mm` after the best similarity; `acceleration_mm` a frame²; `nll` of an entry in nats,
        `nll_with_z` its upper bound by the latent; `best_mm` of five samples.
    """
    parts = [_scores(network, batch, bodies) | _bound(network, batch, posterior) for batch in batches]
    gathered = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: values.mean().item() for name, values in gathered.items()}


def _scores(network: LiftingNetwork, batch: Windows, bodies: Bodies) -> dict[str, Tensor]:
    used = _used(batch)
    mask = attention_mask(torch.ones_like(batch.seen), causal=True)
    context = network.context(batch.tokens, batch.lags, mask)
    lifted, prior = network(batch.tokens, batch.lags, mask), network.prior(context)
    smoothed, fitted = smoothed_entries(batch.tokens), batch.tokens[..., FITTED]
    keypoints = bodies(lifted.entries)
    draws = [network.decode(context, smoothed, prior.sample()) for _ in range(_SAMPLES)]
    errors = torch.stack([_apart_mm(bodies(mean), batch.keypoints) for mean, _ in draws])
    three = used[:, 2:] & used[:, 1:-1] & used[:, :-2]
    of_fitted, wrong = bodies(fitted), keypoints - batch.keypoints
    return {
        "mpjpe_mm": _apart_mm(keypoints, batch.keypoints)[used],
        "pa_mm": _aligned_mm(keypoints[used], batch.keypoints[used]),
        "fitted_mm": _apart_mm(of_fitted, batch.keypoints)[used],
        "fitted_pa_mm": _aligned_mm(of_fitted[used], batch.keypoints[used]),
        "smoothed_mm": _apart_mm(bodies(smoothed), batch.keypoints)[used],
        "one_mm": _of_one(network, batch, bodies)[used],
        "acceleration_mm": 1000 * wrong.diff(n=2, dim=1).norm(dim=-1).mean(-1)[three],
        "nll": likelihood(batch.entries, lifted.entries, lifted.sigma)[used],
        "best_mm": errors.amin(0)[used],
    }


def _bound(network: LiftingNetwork, batch: Windows, posterior: Posterior) -> dict[str, Tensor]:
    """`nll_with_z`: −log N(y; μ(z), σ(z)) + KL(q ‖ p), nats of an entry, at one z ~ q(z|X,y)."""
    every = torch.ones_like(batch.seen)
    context = network.context(batch.tokens, batch.lags, attention_mask(every, causal=True))
    q, p = posterior(context, batch.entries, attention_mask(every)), network.prior(context)
    smoothed = smoothed_entries(batch.tokens)
    bound = likelihood(batch.entries, *network.decode(context, smoothed, q.sample())) + q.kl_to(p) / ENTRIES
    return {"nll_with_z": bound[_used(batch)]}


def _used(batch: Windows) -> Tensor:
    """(B, T) the frames that count."""
    return usable(batch) & batch.seen & (torch.arange(batch.seen.shape[1], device=batch.seen.device) >= _BEGIN)


def _of_one(network: LiftingNetwork, batch: Windows, bodies: Bodies) -> Tensor:
    """(B, T) errors in millimetres of frames that are alone in their windows."""
    single = batch.tokens.flatten(0, 1)[:, None]
    every = torch.ones_like(single[..., 0], dtype=torch.bool)
    lifted = network(single, torch.zeros_like(single[..., :1]), attention_mask(every))
    return _apart_mm(bodies(lifted.entries).reshape(batch.keypoints.shape), batch.keypoints)


def _apart_mm(keypoints: Tensor, true: Tensor) -> Tensor:
    """(…,) mean distance of keypoints (…, K, 3), millimetres, when both are moved to their hips' middle."""
    wrong = keypoints - true
    apart: Tensor = (wrong - wrong[..., _HIPS, :].mean(-2, keepdim=True)).norm(dim=-1).mean(-1)
    return 1000 * apart


def _aligned_mm(keypoints: Tensor, true: Tensor) -> Tensor:
    """(N,) the same of keypoints (N, K, 3), after the similarity that fits best."""
    apart: Tensor = (procrustes(keypoints, true) - true).norm(dim=-1).mean(-1)
    return 1000 * apart
