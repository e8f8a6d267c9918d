"""Training semantics: what the error of joints trains."""

import torch

from common.labels import group_slices
from sender.semantics.cvae import ENTRIES
from sender.train.semantics import with_shape_held


def test_error_of_joints_does_not_train_the_shape() -> None:
    entries = torch.randn(2, ENTRIES, requires_grad=True)
    held = with_shape_held(entries)
    assert torch.equal(held, entries)
    held.square().sum().backward()
    assert entries.grad is not None
    shape = group_slices()["shape"]
    assert not entries.grad[:, shape].any()
    assert entries.grad[:, : shape.start].all() and entries.grad[:, shape.stop :].all()
