"""What arrives of a label vector: groups that are missing, prefixes, quantisation.  Simulated for training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.labels import GROUPS, LABEL_SIZE, group_slices


@dataclass(frozen=True, slots=True)
class LabelDropoutConfig:
    """How labels get lost.

    Args:
        whole: share of people whose labels arrive complete.
        group_missing: chance that a group of the others is missing.
        group_cut: chance that only a prefix of a group arrives.
        step_max: coarsest quantiser step, in standard deviations.
    """

    whole: float = 0.5
    group_missing: float = 0.25
    group_cut: float = 0.25
    step_max: float = 0.6

    def __post_init__(self) -> None:
        if not (0 <= self.whole <= 1 and 0 <= self.group_missing <= 1 and 0 <= self.group_cut <= 1):
            raise ValueError("chances of arrival must lie between 0 and 1")


def kept_entries(count: int, config: LabelDropoutConfig, generator: torch.Generator) -> Tensor:
    """Which entries arrive, (count, 104) of 0 and 1: whole groups, prefixes or nothing."""
    present = torch.ones(count, LABEL_SIZE)
    whole = torch.rand(count, generator=generator) < config.whole
    for group, where in zip(GROUPS, group_slices().values(), strict=True):
        chance = torch.rand(count, generator=generator)
        prefix = torch.randint(1, group.size + 1, (count,), generator=generator)
        length = torch.where(chance < config.group_missing + config.group_cut, prefix, group.size)
        length = torch.where(chance < config.group_missing, 0, length)
        length = torch.where(whole, group.size, length)
        present[:, where] = (torch.arange(group.size) < length.unsqueeze(1)).float()
    return present


def drop_labels(labels_BL: Tensor, config: LabelDropoutConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(labels as they arrive, which entries did), both (B, 104): each person has a quantiser step of her own."""
    count = len(labels_BL)
    present = kept_entries(count, config, generator)
    # A quarter is sent finely: the best quality is asked of those.
    step = (torch.rand(count, 1, generator=generator) * 4 / 3 - 1 / 3).clamp(min=0) * config.step_max
    noise = (torch.rand(labels_BL.shape, generator=generator) - 0.5) * step
    return (labels_BL + noise) * present, present
