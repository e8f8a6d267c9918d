import torch

from common.body.anatomy import REGION_INDEX, REGIONS
from sender.semantics.region_colours import RegionColours

RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])


def frame(**regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    colours, areas = torch.full((len(REGIONS), 3), 0.5), torch.zeros(len(REGIONS))
    for name, colour in regions.items():
        index = REGION_INDEX[name.replace("_L", ".L").replace("_R", ".R")]
        colours[index], areas[index] = colour, 0.3
    return colours, areas


def test_noise_is_averaged_out() -> None:
    torch.manual_seed(0)
    person = RegionColours()
    for _ in range(50):
        known = person.update(*frame(chest=RED + 0.1 * torch.randn(3)))
    assert (known[REGION_INDEX["chest"]] - RED).abs().max() < 0.05


def test_unseen_region_takes_colour_of_mirror_image_or_neighbour() -> None:
    known = RegionColours().update(*frame(shin_L=BLUE, chest=RED))
    torch.testing.assert_close(known[REGION_INDEX["shin.R"]], BLUE)
    torch.testing.assert_close(known[REGION_INDEX["upper_arm.R"]], RED)


def test_tiny_regions_are_ignored() -> None:
    colours, areas = frame(chest=RED)
    known = RegionColours().update(colours, areas * 0.01)
    bare = [REGION_INDEX[name] for name in ("face", "scalp", "hand.L", "hand.R")]
    torch.testing.assert_close(known[bare], torch.full((4, 3), 0.5))
    assert (known < 0.6).all()


def test_unseen_trousers_and_shoes_have_not_the_colour_of_the_top() -> None:
    """A person at a desk, whose shirt reaches over the hips."""
    known = RegionColours().update(*frame(chest=RED, hips=RED, upper_arm_L=RED))
    trousers, shoes = known[REGION_INDEX["thigh.L"]], known[REGION_INDEX["foot.L"]]
    assert (trousers - RED).abs().max() > 0.4 and (shoes - RED).abs().max() > 0.4
    torch.testing.assert_close(known[REGION_INDEX["shin.R"]], trousers)
    white = RegionColours().update(*frame(chest=torch.ones(3)))
    assert (white[REGION_INDEX["thigh.L"]] > trousers + 0.1).all(), "with a white top people wear lighter ones"
    torch.testing.assert_close(white[REGION_INDEX["hips"]], white[REGION_INDEX["thigh.L"]])
    legs = RegionColours().update(*frame(thigh_R=BLUE, hips=BLUE))
    assert (legs[REGION_INDEX["chest"]] - BLUE).abs().max() > 0.4, "nor has an unseen top that of the trousers"
    seen = RegionColours().update(*frame(chest=RED, thigh_L=BLUE))
    torch.testing.assert_close(seen[REGION_INDEX["shin.R"]], BLUE)


def test_changed_clothing_replaces_colour() -> None:
    person = RegionColours()
    for _ in range(500):
        person.update(*frame(chest=RED))
    for _ in range(200):
        known = person.update(*frame(chest=BLUE))
    assert (known[REGION_INDEX["chest"]] - BLUE).abs().max() < 0.1
