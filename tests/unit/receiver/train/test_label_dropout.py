import pytest
import torch

from common.labels import GROUPS, LABEL_SIZE, group_slices
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels, kept_entries


def test_kept_entries_of_a_group_are_a_prefix() -> None:
    present = kept_entries(500, LabelDropoutConfig(whole=0.0), torch.Generator().manual_seed(0))
    for where in group_slices().values():
        assert (present[:, where].diff(dim=1) <= 0).all()


def test_shares_of_whole_people_and_missing_groups() -> None:
    config = LabelDropoutConfig(whole=0.5, group_missing=0.3, group_cut=0.0)
    present = kept_entries(4000, config, torch.Generator().manual_seed(0))
    first = torch.stack([present[:, where.start] for where in group_slices().values()], dim=1)
    assert float((present.sum(1) == LABEL_SIZE).float().mean()) == pytest.approx(
        0.5 + 0.5 * 0.7 ** len(GROUPS), abs=0.04
    )
    assert float(first.mean()) == pytest.approx(1 - 0.5 * 0.3, abs=0.03)


def test_quantisation_noise_is_at_most_half_a_step_and_missing_entries_are_zero() -> None:
    labels = torch.randn(200, LABEL_SIZE, generator=torch.Generator().manual_seed(1))
    arrived, present = drop_labels(labels, LabelDropoutConfig(step_max=0.4), torch.Generator().manual_seed(0))
    assert (arrived[present == 0] == 0).all()
    assert ((arrived - labels)[present == 1].abs() <= 0.2 + 1e-6).all()


def test_impossible_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        LabelDropoutConfig(whole=1.5)
