"""Keypoints of both networks, fused."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.arrays import ByteArray
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.doctor import Doubt
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.config import SenderConfig, TrackingConfig
from sender.doctor import _keypoints
from sender.perception import keypoint_fusion
from sender.perception.crop import CropBox
from sender.perception.keypoint_fusion import (
    KIND,
    WEIGHTS_NAME,
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
from sender.perception.movenet import MoveNet, SecondKeypoints
from sender.perception.perception_network import FusedOutput, PerceptionConfig, PerceptionNet
from sender.perception.predictor import Perception
from sender.perception.read import predict_in_boxes

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
PLACES = torch.stack([torch.linspace(0.3, 0.7, 17), torch.linspace(0.1, 0.9, 17)], dim=-1)[None]


@pytest.fixture(scope="module", params=["lightning", "thunder", "thorough"])
def fusion(request: pytest.FixtureRequest) -> ReadingFusion:
    net = load_recorded(WEIGHTS_NAME, KIND, FusionConfig, KeypointFusion).readings[request.param]
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
