"""Examples and scores of the verifier."""

import torch

from sender.perception.inference.verifier import EVIDENCE
from sender.train.verifier import Examples, area_under_curve


def examples(count: int, seed: int) -> Examples:
    """Positive examples with sharp first keypoints; the detector's scores are random."""
    generator = torch.Generator().manual_seed(seed)
    person = (torch.rand(count, generator=generator) < 0.4).float()
    evidence = torch.randn(count, EVIDENCE, generator=generator)
    evidence[:, 17:34] -= 1.5 * person[:, None]
    return Examples(evidence, person, torch.rand(count, generator=generator), frames=100)


def test_area_under_the_curve() -> None:
    person = torch.tensor([False, False, True, True])
    assert area_under_curve(torch.tensor([0.1, 0.2, 0.3, 0.4]), person) == 1.0
    assert area_under_curve(torch.tensor([0.4, 0.3, 0.2, 0.1]), person) == 0.0
    assert area_under_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), person) == 0.75
    assert torch.isnan(torch.tensor(area_under_curve(torch.ones(2), torch.tensor([True, True]))))
