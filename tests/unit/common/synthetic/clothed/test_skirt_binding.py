import numpy as np

from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from common.synthetic.clothed.binding import load_bindings
from tests.unit.common.synthetic.clothed.conftest import Atelier


def test_legs_meet_in_the_middle_of_the_skirt(atelier: Atelier) -> None:
    skirt, template = atelier.wardrobe.skirt, BodyTemplate.from_model(atelier.model)
    binding = load_bindings()[skirt.name]
    moved = template.rest.copy()
    moved[binding.vertices] = binding.targets(skirt.rest)
    legs = binding.vertices[skirt.limb[binding.corners[:, 0], 1] > 0.3]
    middle = np.abs(moved[legs, 0]) < 0.005
    centre = np.median(moved[legs, 2])
    for height in np.linspace(0.3, 0.6, 6):
        near = middle & (np.abs(moved[legs, 1] - height) < 0.05)
        assert (moved[legs, 2][near] < centre - 0.05).any(), "the front closes"
        assert (moved[legs, 2][near] > centre + 0.05).any(), "the back closes"


def test_each_leg_stays_on_its_side(atelier: Atelier) -> None:
    skirt, template = atelier.wardrobe.skirt, BodyTemplate.from_model(atelier.model)
    binding = load_bindings()[skirt.name]
    x = binding.targets(skirt.rest)[:, 0]
    for side, sign in (("L", 1), ("R", -1)):
        leg = np.isin(template.region[binding.vertices], [REGION_INDEX[f"{name}.{side}"] for name in ("thigh", "shin")])
        assert (sign * x[leg]).min() > -0.005
        assert (sign * x[leg]).max() > 0.15
