"""Scores of the diffusion stage on validation or test bodies: steps, samplers, starts, and shuffled conditions."""

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
    mean_sum = distances.min(dim=1).values.mean() + distances.min(dim=2).values.mean()
    return MILLIMETRES * 0.5 * float(mean_sum)


def _batches(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    yield from zip(*(tensor.split(_BATCH) for tensor in tensors), strict=True)


class Scorer:
    """Samples the same bodies under different conditions.

    Args:
        network: conditioner and denoiser.
        truth_BP6: true oriented points.
        seed: of the noise, the same for all people and samples.
    """

    def __init__(self, network: DiffusionNetwork, truth_BP6: Tensor, seed: int) -> None:
        self.network = network
        self.truth = truth_BP6
        self.noise = torch.randn(1, *truth_BP6.shape[1:], generator=torch.Generator().manual_seed(seed))

    def sample(self, levels: Levels, start: Tensor, config: SamplingConfig, *, shuffle_u_m: bool = False) -> Tensor:
        """Denoised states (B, P, 6).

        Args:
            levels: geometry features.
            start: starting states (B, P, 6).
            config: sampler and steps.
            shuffle_u_m: give everyone the condition of the next person.
        """
        parts = []
        for s_1, s_2, s_3, batch_start in _batches(*levels, start):
            condition = self.network.conditioner((s_1, s_2, s_3))
            if shuffle_u_m:
                condition = condition[torch.arange(len(batch_start)).roll(1)]
            parts.append(sample_state(self.network.denoiser, condition, batch_start, self.noise, config))
        return torch.cat(parts)

    def centre(self, levels: Levels) -> Tensor:
        """g(u_m) without denoising, (B, P, 6)."""
        parts = ((s_1, s_2, s_3) for s_1, s_2, s_3 in _batches(*levels))
        return torch.cat([self.network.denoiser.centre(self.network.conditioner(part)) for part in parts])

    def chamfer(self, state: Tensor) -> float:
        """Chamfer distance to the truth, millimetres."""
        total = sum(chamfer_mm(t[..., :3], x[..., :3]) * len(x) for t, x in _batches(self.truth, state))
        return total / len(state)

    def point_error(self, state: Tensor) -> float:
        """Mean distance of each point to its true position, millimetres."""
        return MILLIMETRES * float((self.truth[..., :3] - state[..., :3]).norm(dim=-1).mean())


@torch.inference_mode()
def diffusion_scores(
    network: DiffusionNetwork, decode: DecodeNetwork, table: BodyTable, dropout: LabelDropoutConfig, seed: int
) -> dict[str, float]:
    """Errors in millimetres.  Unless named, sampling starts from the mean body: the pose comes from u_m alone."""
    labels, cloud = table.batch(slice(None))
    present = torch.ones(len(labels), LABEL_SIZE)
    scorer, default = Scorer(network, cloud, seed), SamplingConfig()
    truth = to_state(cloud[..., :3], cloud[..., 3:])
    start = truth.mean(0, keepdim=True).expand_as(truth)
    levels = decode(labels, present)

    def chamfer(s: Levels, start: Tensor = start, config: SamplingConfig = default, shuffle_u_m: bool = False) -> float:
        return scorer.chamfer(scorer.sample(s, start, config, shuffle_u_m=shuffle_u_m))

    state = scorer.sample(levels, start, default)
    cosine = (from_state(state)[1] * cloud[..., 3:]).sum(-1).clamp(-1, 1)
    arrived = drop_labels(labels, dropout, torch.Generator().manual_seed(seed))
    scores = {
        "point_mm": scorer.point_error(state),
        "chamfer_mm": scorer.chamfer(state),
        "normal_degrees": float(torch.rad2deg(cosine.acos()).mean()),
        "chamfer_mean_body_mm": scorer.chamfer(start),
        "chamfer_shuffled_u_m_mm": chamfer(levels, shuffle_u_m=True),
        "chamfer_true_start_mm": chamfer(levels, truth),
        "chamfer_true_start_shuffled_u_m_mm": chamfer(levels, truth, shuffle_u_m=True),
        "chamfer_arrived_mm": chamfer(decode(*arrived)),
        "chamfer_1_step_mm": chamfer(levels, config=SamplingConfig(steps=1)),
        "chamfer_4_steps_mm": chamfer(levels, config=SamplingConfig(steps=4)),
        "chamfer_ddim_mm": chamfer(levels, config=SamplingConfig(sampler="ddim")),
        "chamfer_heun_mm": chamfer(levels, config=SamplingConfig(sampler="heun")),
        "chamfer_centre_alone_mm": scorer.chamfer(scorer.centre(levels)),
        # (26) and (27) have no denoiser that could estimate the pose: they start from the truth.
        "chamfer_paper_true_start_mm": chamfer(levels, truth, SamplingConfig(sampler="paper")),
    }
    for name in GEOMETRY_GROUPS:
        scores[f"chamfer_shuffled_{name}_mm"] = chamfer(decode(shuffled_group(labels, name), present))
    return scores
