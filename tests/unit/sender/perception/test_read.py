import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.arrays import Image
from common.weights.inference import NetworkInUse
from common.weights.loader import load_recorded
from sender.capture.open import DEMO_PHOTOGRAPHS
from sender.perception.crop import CropBox
from sender.perception.movenet import KIND, NAMES, Maps, MoveNet, MoveNetConfig, MoveNetGraph, MoveNetNet, Name, decoded
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import person_box, uncut_box
from sender.train.photographs.dataset import read_image

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
CROP = CropBox(0, 0, 100)


def output_of(mask: tuple[slice, slice] | None, located: int) -> PerceptionOutput:
    """A mask on rows and columns of a 16×16 grid, and located keypoints in x 0.2…0.4, y 0.2…0.8."""
    torch.manual_seed(0)
    output = Perception(PerceptionNet(TINY)).observe([np.zeros((32, 32, 3), np.uint8)])
    logits = torch.full_like(output.mask_logits, -5.0)
    if mask is not None:
        logits[:, mask[0], mask[1]] = 5.0
    positions = torch.stack([torch.linspace(0.2, 0.4, 17), torch.linspace(0.2, 0.8, 17)], dim=-1)
    chosen = torch.linspace(0, 16, located).round().long()
    sigma, visible = torch.full((1, 17), 0.3), torch.full((1, 17), -5.0)
    sigma[:, chosen], visible[:, chosen] = 0.02, 4.0
    return replace(
        output, mask_logits=logits, keypoints_2d=positions[None], keypoints_sigma=sigma, visible_logit=visible
    )


@pytest.mark.parametrize(
    ("mask", "located", "box"),
    [
        ((slice(2, 14), slice(2, 16)), 17, (12.8, 12.5, 47.2, 87.2)),
        ((slice(3, 13), slice(3, 7)), 17, (18.75, 18.75, 43.75, 81.25)),
        ((slice(3, 6), slice(3, 6)), 4, (18.75, 18.75, 40, 80)),
        (None, 17, (12.8, 10.4, 47.2, 87.2)),
        (None, 0, (10, 10, 90, 90)),
    ],
    ids=["mask beyond the margin", "mask within", "few keypoints", "no mask", "nothing"],
)
def test_box_of_mask_and_keypoints(
    mask: tuple[slice, slice] | None, located: int, box: tuple[float, float, float, float]
) -> None:
    assert person_box(output_of(mask, located), CROP) == pytest.approx(np.array(box), abs=0.1)


@pytest.mark.parametrize(
    ("rows", "y", "crop", "sides"),
    [
        (slice(0, 13), 0.02, CropBox(50, 50, 100), (0, -25, 0, 0)),
        (slice(0, 13), 0.2, CropBox(50, 50, 100), None),
        (slice(3, 13), 0.02, CropBox(50, 50, 100), None),
        (slice(0, 13), 0.02, CropBox(50, 0, 100), None),
        (slice(4, 16), 0.99, CropBox(50, 50, 100), (0, 0, 0, 25)),
        (slice(4, 16), 0.99, CropBox(50, 100, 100), None),
    ],
    ids=["above", "mask alone", "keypoint alone", "frame's top", "below", "frame's bottom"],
)
def test_box_of_a_person_who_is_cut_off_has_room_there(
    rows: slice, y: float, crop: CropBox, sides: tuple[int, ...] | None
) -> None:
    output = output_of((rows, slice(6, 10)), 0)
    output.keypoints_2d[0, 0, 1] = y
    expected = None if sides is None else pytest.approx(person_box(output, crop) + sides, abs=0.1)
    assert uncut_box(output, crop, 200, 200) == expected


PREDICTOR_TINY = PerceptionConfig(size=64, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.mark.parametrize(("side", "seen"), [(48, 64), (96, 96), (128, 64)])
def test_crops_of_another_size_than_those_of_use_are_resampled(side: int, seen: int) -> None:
    perception = Perception(PerceptionNet(replace(PREDICTOR_TINY, still_size=96)))
    sides: list[tuple[int, ...]] = []
    perception.net.stem.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape))
    perception.observe([np.zeros((side, side, 3), dtype=np.uint8)])
    assert sides == [(2, 3, seen, seen)]


@pytest.mark.parametrize("shapes", [[], [(64, 32, 3)], [(64, 64)], [(64, 64, 3), (32, 32, 3)]])
def test_observe_rejects_what_is_no_batch_of_squares(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected square crops of one size"):
        Perception(PerceptionNet(PREDICTOR_TINY)).observe([np.zeros(shape, dtype=np.uint8) for shape in shapes])


# x, y in crop units and score of the originals: as TensorFlow's graphs in ONNX give them for crops of our photographs.
ORIGINALS = json.loads(Path(__file__).with_name("movenet_originals.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_stored_weights_find_the_keypoints_of_the_original(name: Name) -> None:
    net = load_recorded(name, KIND, MoveNetConfig, MoveNetNet)
    crops = np.stack([picture(entry, net.config.size) for entry in ORIGINALS])
    with torch.inference_mode():
        places, score, spread, apart = MoveNetGraph(net)(torch.from_numpy(crops))
    true = torch.tensor([entry[name] for entry in ORIGINALS])
    off = (places - true[..., :2]).abs().amax(dim=-1)
    # 8 bits move heat maps a little; a limb that Google's decoding takes for another is found otherwise.
    assert off.median() < 0.0015
    assert (off < 0.012).float().mean() > 0.97
    assert (score - true[..., 2]).abs().median() < 0.03
    assert spread.min() > 0
    assert spread.max() < 0.06
    assert apart.median() < 0.03


def picture(entry: dict[str, Any], size: int) -> Image:
    image = read_image(DEMO_PHOTOGRAPHS / entry["file"])
    return CropBox(entry["left"], entry["top"], entry["side"]).cut(image, size)


def test_decoding_takes_the_peak_near_the_regressed_keypoint_of_the_person_in_the_middle() -> None:
    side, nose = 16, 0
    centre, heat = torch.full((2, 1, side, side), -8.0), torch.full((2, 17, side, side), -8.0)
    regression, offset = torch.zeros(2, side, side, 17, 2), torch.zeros(2, side, side, 17, 2)
    # The first crop has a more certain person at its border, and a higher peak of another nose.
    centre[:, 0, 7, 8] = 2.0
    centre[0, 0, 1, 1] = 4.0
    regression[:, 7, 8, nose] = torch.tensor([-4.0, 1.0])
    heat[:, nose, 4, 9] = 1.0
    heat[0, nose, 4, 0] = 4.0
    offset[0, 4, 9, nose] = torch.tensor([0.25, 0.5])
    crops = torch.arange(2)[:, None]

    maps = Maps(
        centre,
        heat,
        lambda row, column: regression[crops, row, column].flatten(2),
        lambda row, column: offset[crops, row, column].flatten(2),
    )
    places, score, spread, apart = decoded(maps)
    torch.testing.assert_close(places[:, nose] * side, torch.tensor([[9.5, 4.25], [9.0, 4.0]]))
    torch.testing.assert_close(score[:, nose], torch.full((2,), 1.0).sigmoid())
    torch.testing.assert_close(apart[:, nose] * side, torch.tensor([(0.5**2 + 1.25**2) ** 0.5, 1.0]))
    heat[1, nose, 4, 10] = 0.9
    assert decoded(maps)[2][1, nose] > spread[1, nose]


def test_narrow_crop_gives_what_the_square_one_does_that_is_black_beside_it() -> None:
    net = load_recorded("movenet_lightning", KIND, MoveNetConfig, MoveNetNet)
    square = picture(ORIGINALS[0], net.config.size)
    beside = (net.config.size - net.config.narrow) // 2
    square[:, :beside] = square[:, -beside:] = 0
    with torch.inference_mode():
        whole, middle = (
            MoveNetGraph(net)(torch.from_numpy(crop)[None]) for crop in (square, square[:, beside:-beside])
        )
    assert (whole[0] - middle[0]).abs().median() < 0.01
    torch.testing.assert_close(middle[1].mean(), whole[1].mean(), atol=0.1, rtol=0)


def test_lengths_in_a_cell_are_those_of_the_whole_map() -> None:
    torch.manual_seed(0)
    net = MoveNetNet(MoveNetConfig(64, 0.25)).eval()
    x, rows, columns = torch.rand(2, 24, 6, 6), torch.tensor([[0, 2], [5, 5]]), torch.tensor([[0, 3], [5, 0]])
    with torch.inference_mode():
        found, everywhere = net.offset.at(x, rows, columns), net.offset(x)
    torch.testing.assert_close(found, everywhere[torch.arange(2)[:, None], :, rows, columns])


def test_observe_takes_crops_of_its_size_only() -> None:
    net = MoveNetNet(MoveNetConfig(64, 0.25)).eval()
    used = NetworkInUse(MoveNetGraph(net), "float32", torch.device("cpu"))
    movenet = MoveNet(lambda _: used, 64, 32)
    seen = movenet.observe([np.zeros((64, 64, 3), np.uint8)] * 2)
    assert seen.places.shape == (2, 17, 2)
    assert movenet.observe([np.zeros((64, 32, 3), np.uint8)]).places.shape == (1, 17, 2)
    for crops in ([], [np.zeros((32, 32, 3), np.uint8)], [np.zeros((64, size, 3), np.uint8) for size in (32, 64)]):
        with pytest.raises(ValueError, match="expected RGB crops of 64"):
            movenet.observe(crops)
