"""Keypoints of both networks, fused."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.arrays import ByteArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.doctor import Doubt
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.capture.open import DEMO_PHOTOGRAPHS
from sender.config import SenderConfig, TrackingConfig
from sender.doctor import _keypoints
from sender.perception import keypoint_fusion
from sender.perception.crop import CropBox
from sender.perception.keypoint_fusion import (
    FusionConfig,
    FusionGraph,
    KeypointFusion,
    OwnKeypoints,
    Reading,
    ReadingFusion,
    SecondOpinion,
    alone,
    in_crops,
    mean_of,
    named_as,
    reading_of,
)
from sender.perception.movenet import (
    KIND,
    NAMES,
    Maps,
    MoveNet,
    MoveNetConfig,
    MoveNetGraph,
    MoveNetNet,
    Name,
    SecondKeypoints,
    decoded,
)
from sender.perception.perception_network import FusedOutput, PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import person_box, predict_in_boxes, uncut_box
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


PREDICTOR_TINY = replace(TINY, size=64)


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


PLACES = torch.stack([torch.linspace(0.3, 0.7, 17), torch.linspace(0.1, 0.9, 17)], dim=-1)[None]


@pytest.fixture(scope="module", params=["lightning", "thunder", "thorough"])
def fusion(request: pytest.FixtureRequest) -> ReadingFusion:
    net = load_recorded(keypoint_fusion.WEIGHTS_NAME, keypoint_fusion.KIND, FusionConfig, KeypointFusion).readings[
        request.param
    ]
    assert isinstance(net, ReadingFusion)
    return net


def fused(
    fusion: ReadingFusion,
    apart: float,
    *,
    score: float = 0.7,
    sigma: float = 0.03,
    visible: float = 3.0,
    between: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the way (J,) from perception's to MoveNet's keypoints, σ, and log odds of being visible."""
    one = torch.ones(1, 17)
    step = torch.tensor([apart, 0.0])
    own = OwnKeypoints(PLACES, sigma * one, visible * one)
    second = SecondKeypoints(PLACES + step, score * one, 0.02 * one, 0.01 * one, between * one)
    with torch.no_grad():
        mixture, visible_logit = fusion(own, second)
        places, deviation = mixture.densest()
    assert torch.allclose(places[..., 1], PLACES[..., 1])
    return (places - PLACES)[0, :, 0] / apart, deviation[0], visible_logit[0]


def test_keypoints_that_agree_are_averaged(fusion: ReadingFusion) -> None:
    way, sigma, _ = fused(fusion, 0.01)
    assert ((way > 0) & (way < 1)).all()
    _, far, _ = fused(fusion, 0.3)
    assert (sigma < far).all()


def test_of_keypoints_that_disagree_the_more_certain_one_is_taken(fusion: ReadingFusion) -> None:
    own, _, _ = fused(fusion, 0.4, score=0.03, sigma=0.015, visible=6.0, between=0.1)
    movenets, _, _ = fused(fusion, 0.4, score=0.9, sigma=0.25, visible=-2.0)
    assert own.median() == 0
    assert movenets.median() == pytest.approx(1.0, abs=1e-3)
    assert torch.isin(torch.cat([own, movenets]).round(decimals=3), torch.tensor([0.0, 1.0])).all()


def test_fusion_in_use_is_one_graph_with_the_same_results(fusion: ReadingFusion) -> None:
    random = torch.Generator().manual_seed(0)

    def numbers(low: float, high: float, *more: int) -> Tensor:
        return torch.empty(3, 17, *more).uniform_(low, high, generator=random)

    places, graph = numbers(0.0, 1.0, 2), FusionGraph(fusion)
    own = places, numbers(0.005, 0.1), numbers(-5.0, 5.0)
    second = places + numbers(-0.1, 0.1, 2), *(numbers(0.0, high) for high in (1.0, 0.06, 0.1, 0.02))
    used = in_use(graph, graph.example(), "fusion of a test")
    assert used.is_one_graph
    for found, expected in zip(used(*own, *second), graph(*own, *second), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def found(places: Tensor, score: float = 0.5) -> SecondKeypoints:
    one = torch.ones(1, 17)
    return SecondKeypoints(places, score * one, 0.02 * one, 0.01 * one, 0 * one)


def test_views_are_averaged_by_their_scores() -> None:
    near, far = (found(PLACES + off, score) for off, score in ((0, 0.9), (0.1, 0.1)))
    mean = mean_of([near, far])
    assert (mean.places - PLACES).amax() < 0.01
    assert mean_of([near, near]).between.amax() == 0 < mean.between.amin()


def test_keypoints_of_a_smaller_crop_are_those_of_the_larger_one() -> None:
    larger, smaller = CropBox(0, 0, 200, roll=0.3), CropBox(50, 50, 100, roll=0.3)
    moved = in_crops(found(PLACES), [smaller], [larger])
    assert moved.places.numpy() == pytest.approx(0.25 + 0.5 * PLACES.numpy(), abs=1e-5)
    assert float(moved.spread[0, 0]) == pytest.approx(0.01)


def test_others_beside_a_person_are_black() -> None:
    box = np.array([80, 0, 120, 100], np.float32)
    crop = CropBox.around(box)
    shown = alone(np.full((125, 125, 3), 9, np.uint8), box, crop)
    assert (shown[:, 33:92] == 9).sum() > 0
    assert (shown[:, :32] == 0).all()
    assert (shown[:, 93:] == 0).all()


_FUSES_NOTHING = dict[Reading, NetworkInUse]().__getitem__


class Recorder(MoveNet):
    """Finds the same everywhere, and keeps the crops."""

    def __init__(self) -> None:
        used = NetworkInUse(nn.Identity(), "float32", CPU)
        super().__init__(lambda _: used, 64, 40)
        self.seen: list[ByteArray] = []

    def observe(self, crops: Sequence[ByteArray]) -> SecondKeypoints:
        self.seen += crops
        return found(PLACES.expand(len(crops), -1, -1))


def test_people_who_are_upright_are_read_in_narrow_crops() -> None:
    recorder, image = Recorder(), np.zeros((100, 100, 3), np.uint8)
    second = SecondOpinion(recorder, recorder, _FUSES_NOTHING)
    narrow, wide = np.array([30, 0, 60, 90], np.float32), np.array([30, 0, 90, 90], np.float32)
    for boxes in ([narrow], [wide], [narrow, wide]):
        second.read("thunder", image, boxes, [CropBox.around(box) for box in boxes], "mirrored")
    assert [crop.shape[1] for crop in recorder.seen] == [40, 64, 64, 64]


def test_one_person_is_read_by_thunder_and_several_by_lightning() -> None:
    assert reading_of(1, thorough=False) == "thunder"
    assert reading_of(3, thorough=False) == "lightning"
    assert reading_of(3, thorough=True) == "thorough"
    assert reading_of(1, thorough=False, live=True) == "lightning"


def test_left_and_right_are_perceptions_where_it_is_certain() -> None:
    one, order = torch.ones(1, 17), torch.tensor(MIRRORED_KEYPOINTS)
    places = PLACES + torch.where(torch.arange(17) % 2 == 0, 0.1, -0.1)[None, :, None]
    seen = SecondKeypoints(places[:, order], torch.arange(17.0)[None], one, one, one)
    certain = named_as(OwnKeypoints(places, 0.02 * one, one), seen, order)
    assert torch.allclose(certain.places, places)
    assert certain.score[0].tolist() == [float(index) for index in order]
    assert torch.equal(named_as(OwnKeypoints(places, 0.05 * one, one), seen, order).places, seen.places)


def test_what_the_last_frame_showed_moves_with_the_keypoints_that_movenet_is_sure_of() -> None:
    torch.manual_seed(0)
    output = Perception(PerceptionNet(TINY)).observe([np.zeros((32, 32, 3), np.uint8)])
    one, step = torch.ones(1, 17), torch.zeros(1, 17, 2)
    step[0, 9], step[0, 3] = torch.tensor([0.02, -0.03]), torch.tensor([0.04, 0.0])
    places = torch.rand(1, 17, 2)
    before = FusedOutput.of(output, (output.keypoints_2d, one, one), one, places)
    score = torch.ones(1, 17)
    score[0, 3] = 0.1
    body = torch.tensor([0.01, 0.02])
    order = list(MIRRORED_KEYPOINTS)
    after = SecondKeypoints((places + step + body)[:, order], score[:, order], one, one, 0 * one)
    now = keypoint_fusion.moved(before, after)
    sure = torch.arange(17) != 3
    assert torch.allclose((now.keypoints_2d - output.keypoints_2d)[0, sure], (step + body)[0, sure], atol=1e-5)
    assert torch.equal(now.keypoints_2d[0, 3], output.keypoints_2d[0, 3])
    assert torch.allclose(now.camera - output.camera, torch.tensor([[0.01, 0.02, 0.0]]), atol=1e-5)
    across = (now.joints_3d - output.joints_3d)[0] / output.camera[0, 2].exp()
    assert torch.allclose(across[9], torch.tensor([0.02, -0.03, 0.0]), atol=1e-5)
    assert across[5].abs().max() < 1e-5
    assert torch.equal(now.rotations_6d, output.rotations_6d)


def test_without_movenets_files_keypoints_are_our_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(WEIGHTS_DIRECTORY / "manifest.json", tmp_path)
    assert keypoint_fusion.missing_files() == []
    assert SecondOpinion.load(directory=tmp_path) is None
    assert "movenet_thunder" in caplog.text
    torch.manual_seed(0)
    perception = Perception(PerceptionNet(TINY))
    image = np.zeros((60, 60, 3), np.uint8)
    output = predict_in_boxes(perception, image, [np.array([10, 10, 40, 50], np.float32)]).output
    assert not isinstance(output, FusedOutput)


def test_doctor_says_whose_keypoints_there_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MoveNet" in _keypoints(SenderConfig())
    monkeypatch.setattr(keypoint_fusion, "missing_files", lambda: ["movenet_thunder"])
    with pytest.raises(Doubt, match="movenet_thunder missing"):
        _keypoints(SenderConfig())
    assert "MoveNet" not in _keypoints(SenderConfig(tracking=TrackingConfig(keypoints="ours")))
