"""Losses and augmentation of the clothing network's training."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from common.body.anatomy import POINTS
from common.body.surface_space import SURFACE_SIZE
from sender.attributes.surface import FEATURES, SurfaceEstimate, SurfaceViews
from sender.train.clothing import StoredViews, augmented, dense_loss, entry_loss
from tests.unit.sender.attributes.test_surface import HALF, views


def pictures(count: int = 2) -> SurfaceViews:
    given = views(count)
    return replace(given, picture=given.picture.sigmoid(), maps=given.maps.clamp(-2, 2))


def truth(count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    material = torch.randint(0, 9, (count, HALF, HALF), generator=generator)
    normal = torch.nn.functional.normalize(torch.randn(count, 3, HALF, HALF, generator=generator), dim=1)
    return torch.randn(count, SURFACE_SIZE, generator=generator), material.byte(), (127 * normal).char()


def test_loss_is_least_at_the_truth_and_weighs_entries_by_displacement() -> None:
    entries, certain = torch.zeros(4, SURFACE_SIZE), torch.full((4, SURFACE_SIZE), -2.0)
    mm = torch.ones(SURFACE_SIZE)
    mm[0] = 3.0
    first, last = entries.clone(), entries.clone()
    first[:, 0], last[:, -1] = 0.5, 0.5
    exact, off_first, off_last = (entry_loss(mean, certain, entries, mm) for mean in (entries, first, last))
    assert exact[0] < off_first[0] and float(exact[1]) == 0
    assert float(off_first[1] / off_last[1]) == pytest.approx(9.0, rel=1e-4)


def test_dense_loss_is_zero_at_the_truth_only() -> None:
    _, material, normal = truth()
    logits = 30 * torch.nn.functional.one_hot(material.long(), 9).permute(0, 3, 1, 2).float()
    nothing = torch.zeros(2, SURFACE_SIZE)
    garments, normals = dense_loss(SurfaceEstimate(nothing, nothing, logits, normal.float()), material, normal)
    assert float(garments) == pytest.approx(0, abs=1e-4) and float(normals) == pytest.approx(0, abs=1e-4)
    garments, normals = dense_loss(SurfaceEstimate(nothing, nothing, -logits, -normal.float()), material, normal)
    assert float(garments) > 1 and float(normals) == pytest.approx(2, abs=1e-3)


def test_views_survive_storage() -> None:
    given, (entries, material, normal) = pictures(), truth()
    stored = StoredViews.from_views(given, entries, material, normal)
    rows = StoredViews.concatenate([stored, stored])[torch.tensor([1, 2])]
    assert torch.equal(rows.material, material[[1, 0]]) and torch.equal(rows.entries, entries[[1, 0]])
    assert torch.equal(rows.normal, normal[[1, 0]])
    seen = rows.views()
    for name, tolerance in (("evidence", 5e-3), ("places", 1e-3), ("picture", 2e-3), ("maps", 0.013), ("features", 0)):
        found, wanted = getattr(seen, name), getattr(given, name)[[1, 0]]
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_augmentation_changes_colours_alike_in_picture_and_evidence() -> None:
    torch.manual_seed(3)
    grey = replace(pictures(16), picture=torch.full((16, 3, 112, 112), 0.5), evidence=torch.ones(16, POINTS, FEATURES))
    changed = augmented(grey)
    gain = 2 * changed.picture[:, :, 0, 0]
    assert float(gain.std()) > 0.05 and float(gain.min()) > 0.6 and float(gain.max()) < 1.4
    shown = changed.evidence[..., 0] > 0
    for person in range(16):
        colours = changed.evidence[person][shown[person]][:, 8:11]
        torch.testing.assert_close(colours, gain[person].expand_as(colours))
    torch.testing.assert_close(changed.maps, grey.maps)
