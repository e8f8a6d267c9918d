"""MoveNet: the shipped weights against the originals, and the decoding."""

import json
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
from sender.train.photographs.dataset import read_image

# x, y in crop units and score of the originals: as TensorFlow's graphs in ONNX give them for crops of our photographs.
ORIGINALS = json.loads(Path(__file__).with_name("movenet_originals.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_stored_weights_find_the_keypoints_of_the_original(name: Name) -> None:
    net = load_recorded(name, KIND, MoveNetConfig, MoveNetNet)
    crops = np.stack([picture(entry, net.config.size) for entry in ORIGINALS])
    with torch.inference_mode():
        places, score, spread, apart = MoveNetGraph(net, as_google=True)(torch.from_numpy(crops))
    true = torch.tensor([entry[name] for entry in ORIGINALS])
    off = (places - true[..., :2]).abs().amax(dim=-1)
    # In 32 bits within 0.0003 of it; 8 bits move heat maps a little.
    assert off.median() < 0.0015
    assert off.max() < 0.012
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
