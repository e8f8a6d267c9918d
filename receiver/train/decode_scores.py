"""Scores of the decode stage on validation or test bodies, also with a label group or z' shuffled among people."""

import torch
from torch import Tensor

from common.labels import group_slices
from common.training.run import on_device
from common.weights.devices import device_of
from receiver.decode.geometry_image import true_levels
from receiver.decode.mixture import GaussianMixture
from receiver.decode.network import GEOMETRY_GROUPS, DecodeNetwork
from receiver.train.bodies import BodyTable
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

MILLIMETRES = 1000.0


def place_error_mm(truth: Tensor, decoded: Tensor) -> float:
    """Mean distance between the positions of the places, millimetres."""
    return MILLIMETRES * float((truth[..., :3] - decoded[..., :3]).norm(dim=-1).mean())


def shuffled_group(labels_BL: Tensor, name: str) -> Tensor:
    """Labels in which everyone has one group of the next person."""
    where = group_slices()[name]
    shuffled = labels_BL.clone()
    shuffled[:, where] = labels_BL.roll(1, 0)[:, where]
    return shuffled


def mixture_scores(network: DecodeNetwork, truth: Tensor, arrived: Tensor, present: Tensor) -> dict[str, float]:
    """Under label dropout: components in use, and the error of the best component in hindsight."""
    mixture: GaussianMixture = network.encoder(arrived[:, network.entries], present[:, network.entries])
    error_KB = torch.stack(
        [(truth - network.decoder(z)[2])[..., :3].norm(dim=-1).mean(-1) for z in mixture.means_BKD.unbind(1)]
    )
    plausible_KB = mixture.logits_BK.softmax(-1).mT > 0.02
    best = torch.where(plausible_KB, error_KB, torch.inf).min(dim=0).values
    return {
        "components_used": float((mixture.logits_BK.softmax(-1).mean(0) > 0.02).sum()),
        "s_3_arrived_best_component_mm": MILLIMETRES * float(best.mean()),
    }


@torch.no_grad()
def decode_scores(network: DecodeNetwork, table: BodyTable, dropout: LabelDropoutConfig, seed: int) -> dict[str, float]:
    """Errors in millimetres: of each level on clean labels; of s_3 under dropout, with a group or z' shuffled."""
    labels, places = table.batch(slice(None))
    arrived, arrived_present = drop_labels(labels, dropout, torch.Generator().manual_seed(seed))
    everything = labels, places, arrived, arrived_present
    labels, places, arrived, arrived_present = on_device(everything, device_of(network))
    truth, present = true_levels(places), torch.ones_like(labels)

    clean = network(labels, present)
    scores = {f"s_{i + 1}_mm": place_error_mm(s, s_hat) for i, (s, s_hat) in enumerate(zip(truth, clean, strict=True))}
    cosine = torch.nn.functional.cosine_similarity(truth[2][..., 3:], clean[2][..., 3:], dim=-1).clamp(-1, 1)
    scores["s_3_normal_degrees"] = float(torch.rad2deg(cosine.acos()).mean())
    scores["s_3_arrived_mm"] = place_error_mm(truth[2], network(arrived, arrived_present)[2])
    scores["s_3_mean_body_mm"] = place_error_mm(truth[2], places.mean(0, keepdim=True))
    rounded = (labels / 0.25).round() * 0.25
    scores["s_3_step_0.25_mm"] = place_error_mm(truth[2], network(rounded, present)[2])

    scores |= mixture_scores(network, truth[2], arrived, arrived_present)
    y, entries_present = labels[:, network.entries], present[:, network.entries]
    mixture = network.encoder(y, entries_present)
    scores["s_3_sampled_mm"] = place_error_mm(truth[2], network.decoder(mixture.sample())[2])
    scores["s_3_shuffled_z_mm"] = place_error_mm(truth[2], network.decoder(mixture.mode().roll(1, 0))[2])
    for name in GEOMETRY_GROUPS:
        scores[f"s_3_shuffled_{name}_mm"] = place_error_mm(truth[2], network(shuffled_group(labels, name), present)[2])
        absent = present.clone()
        absent[:, group_slices()[name]] = 0
        scores[f"s_3_without_{name}_mm"] = place_error_mm(truth[2], network(labels * absent, absent)[2])
    return scores
