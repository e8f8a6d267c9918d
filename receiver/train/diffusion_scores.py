"""Scores of the diffusion stage on bodies that nobody trained on, and the ablations: steps, samplers, shuffling."""

from collections.abc import Iterator

import torch
from torch import Tensor

from common.labels import LABEL_SIZE
from receiver.decode.network import GEOMETRY_GROUPS, DecodeNetwork
from receiver.diffusion.denoiser import from_state, to_state
from receiver.diffusion.stage import DiffusionNetwork, SamplingConfig, sample_state
from receiver.train.bodies import BodyTable
from receiver.train.decode_scores import MILLIMETRES, shuffled_group
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

Levels = tuple[Tensor, Tensor, Tensor]
_BATCH = 32


def chamfer_mm(truth_BP3: Tensor, points_BP3: Tensor) -> float:
    """Mean over both directions of the mean distance to the nearest point, millimetres."""
    distances = torch.cdist(truth_BP3, points_BP3)
    both = distances.min(dim=1).values.mean() + distances.min(dim=2).values.mean()
    return MILLIMETRES * 0.5 * float(both)


def _batches(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    yield from zip(*(tensor.split(_BATCH) for tensor in tensors), strict=True)


class Scorer:
    """Samples a table of bodies again and again, each time with something else spoilt."""

    def __init__(self, network: DiffusionNetwork, truth_BP6: Tensor, seed: int) -> None:
        self.network = network
        self.truth = truth_BP6
        self.noise = torch.randn(1, *truth_BP6.shape[1:], generator=torch.Generator().manual_seed(seed))

    def sample(self, levels: Levels, start: Tensor, how: SamplingConfig, *, shuffle_u_m: bool = False) -> Tensor:
        """Clean states (B, P, 6)."""
        parts = []
        for s_1, s_2, s_3, begun in _batches(*levels, start):
            condition = self.network.conditioner((s_1, s_2, s_3))
            if shuffle_u_m:
                condition = condition[torch.arange(len(begun)).roll(1)]
            parts.append(sample_state(self.network.denoiser, condition, begun, self.noise, how))
        return torch.cat(parts)

    def centre(self, levels: Levels) -> Tensor:
        """g(u_m) without any denoising, (B, P, 6)."""
        parts = ((s_1, s_2, s_3) for s_1, s_2, s_3 in _batches(*levels))
        return torch.cat([self.network.denoiser.centre(self.network.conditioner(part)) for part in parts])

    def chamfer(self, state: Tensor) -> float:
        """Chamfer distance to the truth, millimetres."""
        total = sum(chamfer_mm(t[..., :3], x[..., :3]) * len(x) for t, x in _batches(self.truth, state))
        return total / len(state)

    def point_error(self, state: Tensor) -> float:
        """Mean distance of each point to its own place, millimetres."""
        return MILLIMETRES * float((self.truth[..., :3] - state[..., :3]).norm(dim=-1).mean())


@torch.inference_mode()
def diffusion_scores(
    network: DiffusionNetwork, decode: DecodeNetwork, table: BodyTable, arrival: LabelDropoutConfig, seed: int
) -> dict[str, float]:
    """Millimetres on clean labels; the start is the mean of all bodies, so that the pose comes from u_m alone."""
    labels, cloud = table.batch(slice(None))
    present = torch.ones(len(labels), LABEL_SIZE)
    scorer, default = Scorer(network, cloud, seed), SamplingConfig()
    truth = to_state(cloud[..., :3], cloud[..., 3:])
    start = truth.mean(0, keepdim=True).expand_as(truth)
    levels = decode(labels, present)

    def chamfer(s: Levels, begun: Tensor = start, how: SamplingConfig = default, shuffle_u_m: bool = False) -> float:
        return scorer.chamfer(scorer.sample(s, begun, how, shuffle_u_m=shuffle_u_m))

    state = scorer.sample(levels, start, default)
    cosine = (from_state(state)[1] * cloud[..., 3:]).sum(-1).clamp(-1, 1)
    arrived = drop_labels(labels, arrival, torch.Generator().manual_seed(seed))
    scores = {
        "point_mm": scorer.point_error(state),
        "chamfer_mm": scorer.chamfer(state),
        "normal_degrees": float(torch.rad2deg(cosine.acos()).mean()),
        "chamfer_mean_body_mm": scorer.chamfer(start),
        "chamfer_shuffled_u_m_mm": chamfer(levels, shuffle_u_m=True),
        "chamfer_true_start_mm": chamfer(levels, truth),
        "chamfer_true_start_shuffled_u_m_mm": chamfer(levels, truth, shuffle_u_m=True),
        "chamfer_arrived_mm": chamfer(decode(*arrived)),
        "chamfer_1_step_mm": chamfer(levels, how=SamplingConfig(steps=1)),
        "chamfer_4_steps_mm": chamfer(levels, how=SamplingConfig(steps=4)),
        "chamfer_ddim_mm": chamfer(levels, how=SamplingConfig(sampler="ddim")),
        "chamfer_heun_mm": chamfer(levels, how=SamplingConfig(sampler="heun")),
        "chamfer_centre_alone_mm": scorer.chamfer(scorer.centre(levels)),
        # (26), (27) have no denoiser to find the pose with: they are given the truth to start from.
        "chamfer_paper_true_start_mm": chamfer(levels, truth, SamplingConfig(sampler="paper")),
    }
    for name in GEOMETRY_GROUPS:
        scores[f"chamfer_shuffled_{name}_mm"] = chamfer(decode(shuffled_group(labels, name), present))
    return scores
