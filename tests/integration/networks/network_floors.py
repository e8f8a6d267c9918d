"""What each trained network does for its users: figures that are better when lower, on the same rendered people.

A figure has one value for each person, frame or picture.  Every figure loads its networks anew, so that their weights
can be changed (`tests.support.training.changed_weights`).
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.channel.channel import carry
from common.channel.image_codec import decode, encode, load_network
from common.channel.state import ChannelState
from common.frames import PersonLabels
from common.synthetic.render_shards import Batch, CropDataset
from sender.config import SmoothingConfig
from sender.perception.crop import CROP_MARGIN
from sender.perception.detect import Detector
from sender.perception.movenet import MoveNet, Name
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, predict_in_boxes
from sender.semantics.confidence import LIMBS
from sender.semantics.lifter import Lifter
from sender.semantics.semantics_stage import SemanticsStage
from sender.train.augment import FrameComposer
from tests.bench.face.__main__ import rendered_faces, unexplained
from tests.bench.hands.__main__ import fitted_errors
from tests.bench.measures import centred, mean_distance_mm
from tests.bench.people.crops import TruePerson, Truth, truth_fields
from tests.bench.perceived import CropSender, LabelJoints
from tests.integration.networks.clothes_floors import flared_tops, misread_kinds
from tests.integration.networks.motion_floors import continued_motion, unseen_legs

_FRAME_SIZE, _BACKGROUNDS = 416, 12
# The detector sees frames at a lower resolution: smaller people are not asked for, and some frames have no others.
_FRAMES, _LEAST_HEIGHT_PX = 12, 80
_SNR_DB, _RATE = 7.0, Fraction(1, 16)
_FACES, _HANDS, _TOPS = 100, 60, 32


class TestPeople:
    """Rendered crops with the truth; `few` pictures and atlases are taken."""

    __test__ = False

    def __init__(self, dataset: CropDataset, count: int, few: int) -> None:
        self.dataset, self.few = dataset, few
        self.batch: Batch = dataset.batch(range(count), truth_fields(dataset))
        self.people: list[TruePerson] = Truth(BodyModel.load(), LabelSpace.load()).people(self.batch)

    def composer(self, seed: int, size: int) -> FrameComposer:
        return FrameComposer([self.dataset], np.random.default_rng(seed), size, backgrounds=_BACKGROUNDS)

    def perceived(self, semantics: SemanticsStage | None = None) -> list[tuple[PersonLabels, Float64Array]]:
        """Labels as the sender estimates them, and the joints (17, 3) of their bodies about the hips, metres."""
        sender, joints = CropSender(), LabelJoints()
        semantics = semantics or SemanticsStage.load()
        people = sender.labels(sender.observe(self.batch), self.batch, semantics)
        return [(labels, centred(joints(labels))) for labels in people]


def perceived_joints(test: TestPeople) -> list[float]:
    """Mean error of the joints of perceived labels, mm."""
    pairs = zip(test.perceived(), test.people, strict=True)
    return [mean_distance_mm(joints, person.keypoints) for (_, joints), person in pairs]


def unexpected_errors(test: TestPeople) -> list[float]:
    """Negative log likelihood of the errors of pose labels under the deviations that are stated, nats an entry."""
    found = []
    for (labels, _), true in zip(test.perceived(), test.people, strict=True):
        pairs = [(labels.labels[name] - true.labels.labels[name], labels.sigma[name]) for name in (*LIMBS, "torso")]
        error, sigma = map(np.concatenate, zip(*pairs, strict=True))
        found.append(float(np.mean(0.5 * (error / sigma) ** 2 + np.log(sigma))))
    return found


def confidence_error(test: TestPeople) -> list[float]:
    """Brier score of the confidence of limbs, whose joints are right within 10 cm."""
    errors = []
    for (labels, joints), true in zip(test.perceived(), test.people, strict=True):
        right = np.linalg.norm(joints - true.keypoints, axis=-1) < 0.1
        limbs = [(labels.confidence[limb] - right[list(points)].mean()) ** 2 for limb, points in LIMBS.items()]
        errors.append(float(np.mean(limbs)))
    return errors


def lifted_joints(test: TestPeople) -> list[float]:
    """The median error of the joints that the network says in windows of one frame, mm: the sender carries little."""
    with patch.object(Lifter, "_carried", lambda _, lifted, *__: lifted):
        lifted = test.perceived(SemanticsStage.load(SmoothingConfig()))
    pairs = zip(lifted, test.people, strict=True)
    return [float(np.median([mean_distance_mm(joints, person.keypoints) for (_, joints), person in pairs]))]


def misplaced_keypoints(test: TestPeople, name: Name) -> list[float]:
    """Of each person's visible keypoints, the share that MoveNet places farther off than a tenth of the crop."""
    network = MoveNet.load(name)
    images = np.asarray(test.batch["image"], np.uint8)
    crops = [np.asarray(cv2.resize(image, (network.size, network.size)), np.uint8) for image in images]
    true = np.asarray(test.batch["keypoints_2d"], np.float32)
    wrong = np.linalg.norm(network.observe(crops).places - true, axis=-1) > 0.1
    people = zip(wrong, test.batch["visible"].astype(bool), strict=True)
    return [float(person[visible].mean()) for person, visible in people if visible.any()]


def unexpected_keypoints(test: TestPeople) -> list[float]:
    """Negative log likelihood of fused keypoints' errors, crop units, under the deviations that are stated, nats."""
    perception, found = Perception.load(), list[float]()
    for row, crop in enumerate(np.asarray(test.batch["image"], np.uint8)):
        edge = (1 - 1 / CROP_MARGIN) / 2 * len(crop)
        box = np.array([edge, edge, len(crop) - edge, len(crop) - edge], np.float32)
        seen = predict_in_boxes(perception, crop, [box])
        places = seen.crops[0].to_pixels(seen.output.keypoints_2d[0].numpy()) / len(crop)
        squared = np.square(places - test.batch["keypoints_2d"][row]).sum(axis=-1)
        sigma, visible = seen.output.keypoints_sigma[0].numpy(), test.batch["visible"][row].astype(bool)
        if visible.any():
            found.append(float((squared / (2 * sigma**2) + 2 * np.log(sigma))[visible].mean()))
    return found


def missed_people(test: TestPeople) -> list[float]:
    """1 for each person of composed frames whom the detector misses or places wrongly, else 0."""
    detector, composer, missed = Detector.load(), test.composer(3, _FRAME_SIZE), []
    for image, boxes in (composer.frame() for _ in range(_FRAMES)):
        detected = np.array([each.box for each in detector.find(image)], np.float32).reshape(-1, 4)
        shared = box_iou(torch.from_numpy(detected), torch.from_numpy(boxes)).numpy()
        large = boxes[:, 3] - boxes[:, 1] >= _LEAST_HEIGHT_PX
        missed += (shared.max(axis=0, initial=0.0)[large] < 0.5).astype(float).tolist()
    return missed


def wrong_verdicts(test: TestPeople) -> list[float]:
    """1 for each crop, with and without a person, of which the verifier alone is wrong, else 0."""
    perception, verifier = Perception.load(), Verifier.load()
    composer = test.composer(4, perception.size)
    negatives = [composer.negative() for _ in test.people]
    presence = verifier.presence(perception.observe(list(test.batch["image"])), 0.5)
    absence = verifier.presence(perception.observe(negatives), 0.5)
    return list(np.concatenate([presence <= 0.5, absence > 0.5]).astype(float))


def transmitted_pictures(test: TestPeople) -> list[float]:
    """Error of pictures over a channel, root mean square, levels of 255."""
    network, channel, errors = load_network(), ChannelState(_SNR_DB), []
    for number, image in enumerate(test.batch["image"][: test.few]):
        picture = np.asarray(image, np.uint8)
        signal = encode(network, picture, channel, _RATE)
        received = carry(channel, signal.symbols, torch.Generator().manual_seed(number))
        found = decode(network, signal, received).astype(float)
        errors.append(float(np.sqrt(np.square(found - picture).mean())))
    return errors


def unread_faces() -> list[float]:
    """Of mouth, lids, smile and sideways gaze of rendered faces of 60 pixels: the share that is not explained."""
    return unexplained(*rendered_faces(_FACES, 60.0, seed=3))


FIGURES: Mapping[str, Callable[[TestPeople], list[float]]] = {
    "perception": perceived_joints,
    "nanodet": missed_people,
    "verifier": wrong_verdicts,
    "movenet_lightning": partial(misplaced_keypoints, name="movenet_lightning"),
    "movenet_thunder": partial(misplaced_keypoints, name="movenet_thunder"),
    "keypoint_fusion": unexpected_keypoints,
    "lifting": lifted_joints,
    "pose_errors": unexpected_errors,
    "confidence": confidence_error,
    "wears": lambda _: misread_kinds(),
    "face": lambda _: unread_faces(),
    "hands": lambda _: fitted_errors(_HANDS, seed=20_000_003),
    "diffusion": lambda _: flared_tops(_TOPS),
    "image_channel": transmitted_pictures,
    "motion": lambda _: continued_motion(),
    "poses": lambda _: unseen_legs(refined=False),
    "pose_diffusion": lambda _: unseen_legs(refined=True),
}
