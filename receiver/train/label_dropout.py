"""Label dropout: simulates missing groups, prefixes and quantisation of received label vectors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.labels import GROUPS, LABEL_SIZE, group_slices


@dataclass(frozen=True, slots=True)
class LabelDropoutConfig:
    """Probabilities of label dropout.

    Args:
        whole: probability that all labels of a person arrive.
        group_missing: otherwise, probability that a group is missing.
        group_cut: otherwise, probability that only a prefix of a group arrives.
        step_max: coarsest quantiser step, in standard deviations.
    """

    whole: float = 0.5
    group_missing: float = 0.25
    group_cut: float = 0.25
    step_max: float = 0.6

    def __post_init__(self) -> None:
        if not (0 <= self.whole <= 1 and 0 <= self.group_missing <= 1 and 0 <= self.group_cut <= 1):
            raise ValueError("probabilities of label dropout must lie between 0 and 1")


def kept_entries(count: int, config: LabelDropoutConfig, generator: torch.Generator) -> Tensor:
    """(count, 104) of 0 and 1, which entries arrive: whole groups, prefixes or nothing."""
    present = torch.ones(count, LABEL_SIZE)
    whole = torch.rand(count, generator=generator) < config.whole
    for group, where in zip(GROUPS, group_slices().values(), strict=True):
        draw = torch.rand(count, generator=generator)
        prefix = torch.randint(1, group.size + 1, (count,), generator=generator)
        length = torch.where(draw < config.group_missing + config.group_cut, prefix, group.size)
        length = torch.where(draw < config.group_missing, 0, length)
        length = torch.where(whole, group.size, length)
        present[:, where] = (torch.arange(group.size) < length.unsqueeze(1)).float()
    return present


def drop_labels(labels_BL: Tensor, config: LabelDropoutConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(labels as they arrive, which entries arrive), both (B, 104); each person has an own quantiser step."""
    count = len(labels_BL)
    present = kept_entries(count, config, generator)
    # A quarter of the people is not quantised, so that the best quality is trained too.
    step = (torch.rand(count, 1, generator=generator) * 4 / 3 - 1 / 3).clamp(min=0) * config.step_max
    noise = (torch.rand(labels_BL.shape, generator=generator) - 0.5) * step
    return (labels_BL + noise) * present, present
