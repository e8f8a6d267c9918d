"""The rows of the garment table."""

import numpy as np
import torch

from common.body.anatomy import GARMENTS, REGION_INDEX
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.body.template import BodyTemplate
from common.training.fit_garments import PATTERNS, fit, soft_weights

TEMPLATE = BodyTemplate.from_model(BodyModel.load())
SPACE = SurfaceSpace.load()


def test_every_name_has_a_pattern() -> None:
    assert set(PATTERNS) == set(GARMENTS)


def test_fit_finds_the_entries_of_a_displacement() -> None:
    entries = torch.randn(1, 24, generator=torch.Generator().manual_seed(0))
    found = fit(SPACE, SPACE.decode(entries)[0].numpy(), TEMPLATE.areas)
    np.testing.assert_allclose(found, entries[0].numpy(), atol=0.1)


def test_fit_sees_only_where_the_weights_are() -> None:
    legs = (TEMPLATE.region == REGION_INDEX["thigh.L"]).astype(np.float32) * TEMPLATE.areas
    wanted = SPACE.decode(torch.ones(1, 24))[0].numpy()
    elsewhere = np.where(legs[:, None] > 0, wanted, wanted + 0.5).astype(np.float32)
    np.testing.assert_array_equal(fit(SPACE, wanted, legs), fit(SPACE, elsewhere, legs))


def test_weights_are_one_inside_and_soft_around() -> None:
    covered = np.zeros(len(TEMPLATE), np.bool_)
    weights = soft_weights(TEMPLATE, covered, ("foot",))
    feet = np.isin(TEMPLATE.region, [REGION_INDEX["foot.L"], REGION_INDEX["foot.R"]])
    assert np.median(weights[feet]) == 1 and weights.max() <= 1 + 1e-6 and weights.min() >= 0
    assert 0 < np.count_nonzero(weights[~feet]) < np.count_nonzero(feet)
    assert soft_weights(TEMPLATE, covered, ()).max() == 0
