"""What each trained network does for its users: figures that are better when lower, on the same rendered people.

A figure is a list with one value for each person, frame or picture.  Every figure loads its networks anew, so that
their weights can be changed (`tests.support.changed_weights`).
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from torchvision.ops import box_iou

from common.arrays import ByteArray, FloatArray, Image
from common.body.anatomy import ATLAS_SIZE
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.channel.diffusion import DiffusionDecoder, load_decoder
from common.channel.physical import carry
from common.channel.state import ChannelState
from common.channel.transmission import decode, encode, load_network
from common.frames import PersonLabels
from common.labels import concatenate, group_slices
from common.synthetic.dataset.presets import DRESSED
from common.synthetic.dataset.shards import Batch, CropDataset
from common.synthetic.dataset.split import SEED_RANGES
from common.synthetic.scene.scene import scene_maker
from common.texture.atlas import AtlasLayout, Texture
from common.wear_kinds import VALUES
from receiver.outfits.guidance import Guidance
from receiver.texture.atlas_completion import AtlasCompletion
from sender.perception.inference.crop import CropBox
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.verifier import Verifier
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.semantics.confidence import LIMBS
from sender.train.atlases.observed import SIZE, observed_atlases
from sender.train.atlases.people import AtlasPeople
from sender.train.frames.composed import FrameComposer
from sender.train.worn.people import hidden_unknown
from sender.wears.stage import WearsReader
from tests.bench import measures
from tests.bench.crops import TruePerson, Truth, truth_fields
from tests.bench.known_outfits import KnownOutfits, read_entries
from tests.bench.measures import centred
from tests.bench.perceived import CropSender

FRAME_SIZE = 416
# The detector sees frames at a lower resolution: smaller people are not asked for.
_LEAST_HEIGHT_PX = 80
_SNR_DB, _RATE = 7.0, Fraction(1, 16)
_KIND_PEOPLE, _KIND_PX = 48, 192
_WHOLE = CropBox(0, 0, _KIND_PX)
_KNOWN = 0.5


class TestPeople:
    """Rendered crops with the truth, and what is made of them for the figures.

    Args:
        dataset: of the test split, with clothes.
        few: frames, pictures and atlases.
    """

    __test__ = False

    def __init__(self, dataset: CropDataset, count: int, few: int) -> None:
        self.dataset, self.few = dataset, few
        self.batch: Batch = dataset.batch(range(count), truth_fields(dataset))
        self.body, self.space = BodyModel.load(), LabelSpace.load()
        self.people: list[TruePerson] = Truth(self.body, self.space).people(self.batch)

    @cached_property
    def frames(self) -> list[tuple[ByteArray, FloatArray]]:
        """Composed frames with the boxes of their people."""
        composer = FrameComposer([self.dataset], np.random.default_rng(3), FRAME_SIZE, backgrounds=12)
        return [composer.frame() for _ in range(self.few)]

    @cached_property
    def negatives(self) -> list[Image]:
        """Crops without a person, as many as there are people."""
        composer = FrameComposer([self.dataset], np.random.default_rng(4), Perception.load().size, backgrounds=12)
        return [composer.negative() for _ in self.people]

    @cached_property
    def pictures(self) -> list[Image]:
        """Crops as pictures to transmit."""
        return [np.asarray(image, np.uint8) for image in self.batch["image"][: self.few]]

    @cached_property
    def worn(self) -> tuple[Batch, list[Image], list[PerceptionOutput]]:
        """Crops of people in outfits of known kinds, their pictures, and what perception sees in them."""
        scenes = scene_maker("test", np.random.default_rng(0), 16, DRESSED)
        crops = scenes.make(SEED_RANGES["test"].start + 77, _KIND_PEOPLE, _KIND_PX)
        images = [np.asarray(image, np.uint8) for image in crops["image"]]
        return crops, images, Perception.load().observe(images).split()

    @cached_property
    def atlases(self) -> list[tuple[Texture, ByteArray]]:
        """What is known of a person from the front, and the whole atlas (s, s, 4)."""
        people = AtlasPeople("test", 7, self.few)
        enlarge = np.ones((ATLAS_SIZE // SIZE, ATLAS_SIZE // SIZE), np.uint8)
        found = []
        for person in range(self.few):
            known, whole = observed_atlases(people, person)
            front = np.stack([np.kron(channel, enlarge) for channel in np.moveaxis(known[0], -1, 0)], axis=-1)
            found.append((Texture(np.ascontiguousarray(front[..., :3]), front[..., 3] > 0), whole))
        return found


def _perceived(test: TestPeople) -> tuple[list[PersonLabels], FloatArray]:
    """Labels as the sender estimates them, and the joints (N, 17, 3) of their bodies, metres."""
    found = [labels for labels, _ in CropSender().predict(test.batch)]
    labels = torch.from_numpy(np.stack([concatenate(person.labels) for person in found]))
    joints = KeypointKinematics(test.body)(test.space.decode(labels))[0].numpy()
    return found, joints


def perceived_joints(test: TestPeople) -> list[float]:
    """Mean error of the joints of perceived labels, mm."""
    _, joints = _perceived(test)
    return [measures.mean_distance_mm(centred(j), p.keypoints) for j, p in zip(joints, test.people, strict=True)]


def perceived_clothes(test: TestPeople) -> list[float]:
    """Mean distance between the clothes of perceived and true `surface` labels, mm."""
    space, where = SurfaceSpace.load(), group_slices()["surface"]
    found = [labels for labels, _ in CropSender().predict(test.batch)]
    pair = ([person.labels for person in found], [person.labels.labels for person in test.people])
    shown, true = (space.decode(torch.from_numpy(np.stack([concatenate(p)[where] for p in each]))) for each in pair)
    return list((1000 * (shown - true).norm(dim=-1).mean(-1)).tolist())


def confidence_error(test: TestPeople) -> list[float]:
    """Brier score of the confidence of limbs, whose joints are right within 10 cm."""
    found, joints = _perceived(test)
    errors = []
    for person, joint, true in zip(found, joints, test.people, strict=True):
        right = np.linalg.norm(centred(joint) - true.keypoints, axis=-1) < 0.1
        limbs = [(person.confidence[limb] - right[list(points)].mean()) ** 2 for limb, points in LIMBS.items()]
        errors.append(float(np.mean(limbs)))
    return errors


def missed_people(test: TestPeople) -> list[float]:
    """Share of the people in each composed frame whom the detector misses or places wrongly."""
    detector = Detector.load()
    missed = []
    for image, boxes in test.frames:
        detected = np.array([each.box for each in detector.find(image)], np.float32).reshape(-1, 4)
        shared = box_iou(torch.from_numpy(detected), torch.from_numpy(boxes)).numpy()
        large = boxes[:, 3] - boxes[:, 1] >= _LEAST_HEIGHT_PX
        if large.any():
            missed.append(float((shared.max(axis=0, initial=0.0)[large] < 0.5).mean()))
    return missed


def wrong_verdicts(test: TestPeople) -> list[float]:
    """1 for each crop of which the verifier alone is wrong whether it shows a person, else 0."""
    perception, verifier = Perception.load(), Verifier.load()
    presence = verifier.presence(perception.observe(list(test.batch["image"])), 0.5)
    absence = verifier.presence(perception.observe(test.negatives), 0.5)
    return list(np.concatenate([presence <= 0.5, absence > 0.5]).astype(float))


@torch.inference_mode()
def generated_outfits(test: TestPeople) -> list[float]:
    """Mean distance of generated from true clothes of people at rest, of known kinds and half known labels, mm."""
    template, space = BodyTemplate.from_model(test.body), SurfaceSpace.load()
    outfits = Guidance.load(template, space)
    area, rng = template.areas / template.areas.sum(), np.random.default_rng(0)
    distances = []
    for number, person in enumerate(KnownOutfits("test").people(SEED_RANGES["test"].start + 77, len(test.people))):
        read = read_entries(person, space, _KNOWN, rng.normal(size=SURFACE_SIZE))
        field = outfits.worn(outfits.chosen(person.wears, number, read, _KNOWN), read, _KNOWN)
        distances.append(float(1000 * area @ np.linalg.norm(field - person.displacement, axis=1)))
    return distances


def unseen_colours(test: TestPeople) -> list[float]:
    """Mean error of the colours that are not known of an atlas, levels of 255."""
    completion = AtlasCompletion.load(AtlasLayout.from_body(test.body))
    errors = []
    for texture, whole in test.atlases:
        unseen = (whole[..., 3] > 0) & ~texture.known[:: ATLAS_SIZE // SIZE, :: ATLAS_SIZE // SIZE]
        errors.append(np.abs(completion.estimate(texture)[unseen].astype(float) - whole[unseen][:, :3]).mean())
    return errors


def _transmitted(test: TestPeople, decoder: DiffusionDecoder | None) -> list[float]:
    network, channel = load_network(), ChannelState(_SNR_DB)
    errors = []
    for number, picture in enumerate(test.pictures):
        signal = encode(network, picture, channel, _RATE)
        received = carry(channel, signal.symbols, torch.Generator().manual_seed(number))
        errors.append(_picture_error(decode(network, signal, received, decoder), picture))
    return errors


def _picture_error(found: Image, true: Image) -> float:
    return float(np.sqrt(np.square(found.astype(float) - true).mean()))


def transmitted_pictures(test: TestPeople) -> list[float]:
    """Error of pictures over a channel of 7 dB, root mean square, levels of 255."""
    return _transmitted(test, None)


def completed_pictures(test: TestPeople) -> list[float]:
    """The same behind the diffusion decoder."""
    return _transmitted(test, load_decoder())


Figure = Callable[[TestPeople], list[float]]


def misread_kinds(test: TestPeople) -> list[float]:
    """Of each rendered person in an outfit of known kinds, the share of the attributes that are read wrongly."""
    crops, images, seen = test.worn
    reader = WearsReader.load()
    known = hidden_unknown(np.asarray(crops["kinds"], np.uint8), np.asarray(crops["part"], np.uint8))
    wrong = []
    for image, output, bits in zip(images, seen, known, strict=True):
        read = reader.read(image, ObservedPerson(0, 1.0, _WHOLE, output))
        rows = zip(bits[: len(VALUES)].tolist(), VALUES, strict=True)
        wrong.append(float(np.mean([not each >> int(read[name].argmax()) & 1 for each, name in rows])))
    return wrong


FIGURES: Mapping[str, Figure] = {
    "perception": perceived_joints,
    "detector": missed_people,
    "verifier": wrong_verdicts,
    "semantics": perceived_joints,
    "confidence": confidence_error,
    "clothing": perceived_clothes,
    "wears": misread_kinds,
    "diffusion": generated_outfits,
    "atlas_completion": unseen_colours,
    "image_channel": transmitted_pictures,
    "picture_diffusion": completed_pictures,
}
"""Network → its figure."""
