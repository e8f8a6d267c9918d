"""Floors for the networks that ship, on a few rendered people of the test split: a broken export must not pass.

The margins are generous, so that retrained networks pass; zeroed or shuffled weights of any one network do not.
Quality is measured by `tests.bench.quality`.
"""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from common.arrays import ByteArray, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.synthetic.dataset.presets import EVERYDAY
from common.synthetic.dataset.shards import Batch, CropDataset
from common.synthetic.render_shards import Task, render_shard
from common.weights.manifest import model_hash
from sender.importance.importance import Importance
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.verifier import Verifier
from sender.perception.network.network import PerceptionConfig
from sender.train.detector_frames import FrameComposer
from tests.bench import measures
from tests.bench.crops import TRUTH_FIELDS, TruePerson, Truth
from tests.bench.measures import Surface, centred
from tests.bench.perceived import CropSender
from tests.bench.rates import through_key_frame, unconstrained_rho
from tests.bench.reconstruction_scores import Receiver, image_figures

CROPS = 20
FRAMES = 24
FRAME_SIZE = 416
# The detector sees frames at 256 × 256: smaller people are not asked for.
LEAST_HEIGHT_PX = 80


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CropDataset:
    """Crops of everyday people of the test split, from a seed that no bench uses."""
    folder: Path = tmp_path_factory.mktemp("crops")
    render_shard(Task(folder, "test", 20, 0, CROPS, PerceptionConfig().size, EVERYDAY), multiprocessing.Value("l", 0))
    return CropDataset([folder], "test")


@pytest.fixture(scope="module")
def crops(dataset: CropDataset) -> Batch:
    return dataset.batch(range(CROPS), TRUTH_FIELDS)


@pytest.fixture(scope="module")
def truth(crops: Batch) -> list[TruePerson]:
    return Truth(BodyModel.load(), LabelSpace.load()).people(crops)


@pytest.fixture(scope="module")
def perceived(crops: Batch) -> list[tuple[PersonLabels, dict[str, float]]]:
    """Labels, and the scores of the mask and depth heads."""
    return CropSender().predict(crops)


@dataclass(frozen=True)
class Received:
    """Mean scores of meshes at the receiver."""

    mpjpe_mm: float
    chamfer_mm: float
    mask_iou: float
    watertight: bool


def _receive(people: Sequence[PersonLabels], truth: Sequence[TruePerson]) -> Received:
    receiver = Receiver()
    joints, chamfer, mask, watertight = [], [], [], []
    for labels, true in zip(people, truth, strict=True):
        (found,) = receiver.reconstruct([labels], true.camera)
        surface = Surface(centred(found.joints_3d, found.surface.vertices), found.surface.faces)
        joints.append(measures.mean_distance_mm(centred(found.joints_3d), true.keypoints))
        chamfer.append(measures.surface_distances(surface, true.surface, samples=1000)["chamfer_mm"])
        mask.append(image_figures(found.surface, float(found.body.joint_positions[0, 2]), true)["mask_iou"])
        watertight.append(measures.is_watertight_piece(found.surface.vertices, found.surface.faces))
    return Received(float(np.mean(joints)), float(np.mean(chamfer)), float(np.mean(mask)), all(watertight))


@pytest.fixture(scope="module")
def frames(dataset: CropDataset) -> list[tuple[ByteArray, FloatArray]]:
    """Composed frames with the boxes of their people."""
    composer = FrameComposer([dataset], np.random.default_rng(3), FRAME_SIZE, backgrounds=12)
    return [composer.frame() for _ in range(FRAMES)]


def test_perception_finds_mask_and_depth(perceived: list[tuple[PersonLabels, dict[str, float]]]) -> None:
    scores = measures.mean_by_key([heads for _, heads in perceived])
    assert scores["mask_iou"] > 0.8
    assert scores["depth_mm"] < 110


def test_perceived_labels_through_codec_and_receiver(
    perceived: list[tuple[PersonLabels, dict[str, float]]], truth: list[TruePerson]
) -> None:
    importance, networks = Importance.load(), model_hash()
    coded = [through_key_frame(labels, unconstrained_rho(importance, labels), networks)[0] for labels, _ in perceived]
    received = _receive(coded, truth)
    assert received.mpjpe_mm < 150
    assert received.mask_iou > 0.6
    assert received.watertight


def test_receiver_reconstructs_true_labels(truth: list[TruePerson]) -> None:
    received = _receive([person.labels for person in truth], truth)
    assert received.mpjpe_mm < 10
    assert received.chamfer_mm < 10
    assert received.watertight


def test_detector_finds_people_in_composed_frames(frames: list[tuple[ByteArray, FloatArray]]) -> None:
    detector = Detector.load()
    found = people = false = 0
    for image, boxes in frames:
        detected = np.array([detection.box for detection in detector.find(image)], np.float32).reshape(-1, 4)
        shared = box_iou(torch.from_numpy(detected), torch.from_numpy(boxes)).numpy()
        large = boxes[:, 3] - boxes[:, 1] >= LEAST_HEIGHT_PX
        found += int((shared.max(axis=0, initial=0.0)[large] >= 0.5).sum())
        people += int(large.sum())
        false += int((shared.max(axis=1, initial=0.0) < 0.35).sum())
    assert found >= 0.7 * people > 0
    assert false <= 1.5 * FRAMES


def test_verifier_separates_people_from_other_crops(dataset: CropDataset, crops: Batch) -> None:
    perception, verifier = Perception.load(), Verifier.load()
    composer = FrameComposer([dataset], np.random.default_rng(4), perception.size, backgrounds=12)
    people = perception.observe(list(crops["image"]))
    negatives = perception.observe([composer.negative() for _ in range(CROPS)])
    # Without the detector's score the verdict is the verifier's alone.
    presence, absence = verifier.presence(people, 0.5), verifier.presence(negatives, 0.5)
    verdicts = np.concatenate([presence > 0.5, absence <= 0.5])
    # A small network with shuffled weights can separate them by chance, but hardly without mistakes.
    assert verdicts.mean() >= 0.95
