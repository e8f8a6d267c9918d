"""Bodies that are fitted to annotated keypoints: they get there, or are left out."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from common.body.anatomy import KEYPOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput
from sender.semantics.crop_labels import body_in_crop
from sender.semantics.cvae import ENTRIES
from sender.semantics.predictor import load_predictor
from sender.semantics.refine import Refiner, Targets
from sender.train.crops.semantic_samples import Fitter, SampleSource, annotated, landmarks, mirrored_keypoints
from sender.train.photographs.crops import PhotographCrops
from sender.train.photographs.dataset import PhotographDataset, convert
from tests.support.demo_clip import demo_picture
from tests.support.photograph_sources import write_photographs

FOCAL = torch.tensor([2.5])


@pytest.fixture(scope="module")
def perception() -> Perception:
    return Perception.load()


@pytest.fixture(scope="module")
def seen(perception: Perception) -> PerceptionOutput:
    picture = np.asarray(Image.open(io.BytesIO(demo_picture())))
    left = (picture.shape[1] - picture.shape[0]) // 2
    return perception.observe([np.ascontiguousarray(picture[:, left : left + picture.shape[0]])])


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    return Refiner.load()


def places(refiner: Refiner, entries: Tensor) -> Tensor:
    """Keypoints (1, K, 3) of a body, all annotated."""
    positions = torch.from_numpy(refiner.projected(entries.numpy(), FOCAL[:, None, None].numpy()))
    return torch.cat([positions, torch.ones_like(positions[..., :1])], dim=-1)


def test_fitted_body_has_the_annotated_keypoints(seen: PerceptionOutput, refiner: Refiner) -> None:
    with torch.inference_mode():
        entries, sigma = load_predictor()(seen.features())
        # Another pose than what was seen.
        truth = places(refiner, entries + 0.7 * sigma)
        fitted, fits = Fitter(refiner).fit(seen, truth, FOCAL)
        found = places(refiner, fitted)
        targets = Targets.from_output(seen, FOCAL.numpy())
        before = places(refiner, torch.from_numpy(refiner.refine(entries.numpy(), sigma.numpy(), targets)))
    assert fits.tolist() == [True]
    distances = [(each - truth)[..., :2].norm(dim=-1).mean() for each in (found, before)]
    assert distances[0] < 0.4 * distances[1]


def test_what_no_body_has_does_not_fit(seen: PerceptionOutput, refiner: Refiner) -> None:
    keypoints = places(refiner, torch.zeros(1, ENTRIES))
    keypoints[0, KEYPOINT_INDEX["left_knee"], :2] += 3.0
    with torch.inference_mode():
        _, fits = Fitter(refiner).fit(seen, keypoints, FOCAL)
    assert fits.tolist() == [False]


def test_nobody_annotated_does_not_fit(seen: PerceptionOutput, refiner: Refiner) -> None:
    with torch.inference_mode():
        _, fits = Fitter(refiner).fit(seen, torch.zeros(1, 17, 3), FOCAL)
    assert fits.tolist() == [False]


def test_keypoints_of_mirror_images_change_sides() -> None:
    positions = torch.rand(1, 17, 2)
    labelled = torch.ones(1, 17)
    labelled[0, KEYPOINT_INDEX["left_wrist"]] = 0
    crops = PhotographCrops(torch.zeros(1, 3, 4, 4), positions, labelled, labelled, labelled)
    mirrored = mirrored_keypoints(crops)
    wrist = mirrored[0, KEYPOINT_INDEX["right_wrist"]]
    assert wrist[2] == 0
    assert torch.allclose(wrist[:2], torch.tensor([1.0, 0.0]) + torch.tensor([-1.0, 1.0]) * annotated(crops)[0, 9, :2])


def test_samples_of_photographs_are_bodies_and_their_mirror_images(perception: Perception, tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    photographs, source = PhotographDataset(tmp_path / "out", "train"), SampleSource(perception)
    samples = source.fitted(photographs, 64, seed=1)
    assert 0 < len(samples) <= 128
    body = body_in_crop(LabelSpace.load(), samples.entries, samples.focal)
    assert torch.allclose(landmarks(KeypointKinematics(BodyModel.load()), body), samples.landmarks, atol=1e-4)
    assert len(samples.features.unique(dim=0)) == len(samples)
