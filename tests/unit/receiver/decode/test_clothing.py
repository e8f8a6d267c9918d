import torch

from common.labels import LABEL_SIZE, group_slices
from receiver.decode.clothing import CLOTHING_SIZE, Clothing


def test_absent_entries_are_zero_and_marked() -> None:
    surface, present = group_slices()["surface"], torch.ones(2, LABEL_SIZE)
    present[:, surface.start + 5 : surface.stop] = 0
    clothing = Clothing.from_labels(torch.full((2, LABEL_SIZE), 3.0), present)
    assert (clothing.entries[:, :5] == 3).all() and (clothing.entries[:, 5:] == 0).all()
    assert clothing.present.sum(1).tolist() == [5, 5]
    assert clothing.vector().shape == (2, CLOTHING_SIZE)


def test_shape_is_that_of_the_labels() -> None:
    labels = torch.randn(1, LABEL_SIZE)
    assert torch.equal(
        Clothing.from_labels(labels, torch.ones(1, LABEL_SIZE)).shape, labels[:, group_slices()["shape"]]
    )
