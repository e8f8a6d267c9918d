"""What everybody wears, in turn: the kinds of clothes and hair, the outline of a head, and what is worth sending of it.

The outline of a head with its hair is read in the same frames as the kinds, if the landmarks of its face were:

    face's landmarks ─ similarity ─ bare mean head in the picture ─┐
    picture ─ MediaPipe's selfie segmentation ─ mask ─ rays ───────┴─ how far hair reaches beyond it

Both sides count alike; of two that differ much, the nearer one: beyond the other may be somebody else, or a hand.

Shapes: H vertices of the head, D directions, S sectors, of `common.head_outline`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Float64Array, FloatArray, Image
from common.blobs import WEARS, Blob
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.head_outline import DIRECTIONS, SECTORS, head_vertices, in_sectors, middle_of, radii
from common.wear_kinds import VALUES
from common.wears import WITHDRAWN, Wears
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.landmark_networks import load_network
from common.weights.loader import architecture_of, load_into, made
from common.weights.manifest import find_entry
from sender.attributes.kinds import (
    COLOUR_FEATURES,
    PART_PX,
    PARTS,
    KindMemory,
    KindNet,
    KindNetConfig,
    KindViews,
    by_attribute,
    said,
    views_of,
)
from sender.face.actions import FaceActions
from sender.face.landmarks import TEMPLATE_AT_M, FaceLandmarks
from sender.lookahead import Perceived
from sender.people.view import ReadingSchedule, Turn
from sender.perception.crop import similarity
from sender.perception.perception_network import FEATURE_SIZE
from sender.perception.track import Memory, ObservedPerson

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

_PX = 256
# Side of the square that the network sees, and how far its middle is below the head's, metres.
_SIDE_M, _BELOW_M = 0.9, 0.08
# Rays start at this share of the bare head's radius, end so far out, and have steps of so much, metres.
_INSIDE, _MOST_M, _STEP_M = 0.6, 0.4, 1.5e-3
_PERSON = 0.5
# Sides that differ by more show something else.
_ALIKE_M = 0.015
# Cosine of the angle by which a head may be turned away.
_FACING = 0.68
# What is around the picture, 0…255.
_GREY = (127, 127, 127)
# Looks that the mean covers, and by how much its numbers change before it is sent again, metres.
_MEMORY_LOOKS, _VISIBLE_M = 12, 0.006


class OutlineReader:
    """Reads the outlines of heads.

    Args:
        network: pictures (1, 256, 256, 3), 0…1 → how likely each pixel is a person.
        head: (H, 3) the bare mean head about its middle, metres.
        template: (468, 3) the face's landmarks on it.
        shares: (468,) of each landmark; their sum is 1.
    """

    def __init__(
        self, network: "CompiledGraph", head: FloatArray, template: Float64Array, shares: Float64Array
    ) -> None:
        self._network, self._head, self._template, self._shares = network, head, template, shares
        self._along_m: FloatArray = np.arange(0, _MOST_M, _STEP_M, dtype=np.float32)

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Self | None:
        """The one of this process; None where MediaPipe's networks are missing.

        Raises:
            WeightsError: the body's file, or that of facial actions, is missing or damaged.
        """
        network = load_network("selfie_segmentation")
        if network is None:
            return None
        body, face = BodyModel.load(), FaceActions.load()
        rest = body.rest_vertices[0].numpy()
        head = rest[head_vertices(body.vertex_region.numpy())]
        middle, weights = middle_of(head), face.weights.numpy().astype(np.float64)
        template = face.template.numpy().astype(np.float64) + np.array(TEMPLATE_AT_M) - middle
        return cls(network, head - middle, template, weights / weights.sum())

    @torch.inference_mode()
    def read(self, image: Image, face: FaceLandmarks) -> FloatArray | None:
        """(S,) metres beyond the bare mean head, NaN where hidden; None if nothing can be read.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        rotation, px_per_m, middle = similarity(self._template, face.points, self._shares)
        if rotation[2, 2] < _FACING:
            return None
        # In the picture, to the right of the upright head, and down.
        right, down = np.array([rotation[1, 1], -rotation[0, 1]]), rotation[:2, 1]
        axes = np.stack([right, down]) / np.hypot(*down)
        bare = radii(((self._head @ rotation.T)[:, :2] @ axes.T).astype(np.float32))
        angles = np.deg2rad(DIRECTIONS)
        rays = np.stack([np.sin(angles), -np.cos(angles)], axis=1) @ axes
        scale = _PX / (_SIDE_M * px_per_m)
        corner = _PX / 2 - scale * (middle[:2] + np.array([0, _BELOW_M * px_per_m]))
        mask, inside = self._mask(image, np.column_stack([scale * np.eye(2), corner]))
        places = scale * (middle[:2] + px_per_m * self._along_m[:, None] * rays[:, None]) + corner - 0.5
        x, y = np.moveaxis(places.astype(np.float32), 2, 0)
        ended = cv2.remap(mask, x, y, cv2.INTER_LINEAR) < _PERSON
        ended &= self._along_m > _INSIDE * bare[:, None]
        first = ended.argmax(axis=1)
        seen = ended.any(axis=1) & (cv2.remap(inside, x, y, cv2.INTER_NEAREST)[np.arange(len(rays)), first] > 0)
        sides = in_sectors(np.where(seen, self._along_m[first] - bare, np.nan).astype(np.float32))
        if np.isnan(sides[:, : len(SECTORS) - 1]).all(axis=0).any():
            return None
        alike = np.abs(sides[0] - sides[1]) <= _ALIKE_M
        return np.asarray(np.where(alike, (sides[0] + sides[1]) / 2, np.fmin(*sides)), np.float32)

    def _mask(self, image: Image, transform: Float64Array) -> tuple[FloatArray, FloatArray]:
        """(256, 256) probability of a person, and 1 inside of the picture, of a part of the image."""
        shrinks = abs(transform[0, 0]) < 1
        size, how = (_PX, _PX), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        picture = cv2.warpAffine(image, transform, size, flags=how, borderValue=_GREY)
        (mask,) = self._network(torch.from_numpy(picture)[None].float() / 255)
        inside = cv2.warpAffine(np.ones(image.shape[:2], np.float32), transform, size, flags=cv2.INTER_NEAREST)
        return mask.reshape(_PX, _PX).numpy(), np.asarray(inside, np.float32)


@dataclass(slots=True)
class OutlineMemory:
    """What is known of one person's.

    Args:
        mean: (S,) of all looks, metres; NaN where none has seen it.
        looks: how many there were, of at most twelve.
        shown: (S,) what is sent: it stays until it would look another; None before the first look.
    """

    mean: FloatArray | None = None
    looks: int = 0
    shown: FloatArray | None = None

    def add(self, outline: FloatArray | None) -> None:
        """Takes what a look has read."""
        if outline is None:
            return
        self.looks = min(self.looks + 1, _MEMORY_LOOKS)
        if self.mean is None:
            self.mean = outline
        else:
            moved = self.mean + (outline - self.mean) / np.float32(self.looks)
            self.mean = np.where(np.isnan(moved), np.fmax(self.mean, outline), moved)
        if self.shown is None or not (np.abs(self.mean - self.shown) <= _VISIBLE_M)[~np.isnan(self.mean)].all():
            self.shown = self.mean


WEIGHTS_NAME = "wears"
# Seconds from one reading of a person to the next, also where another view would say hardly anything new.
_READ_EVERY_S, _SETTLED_EVERY_S = 0.48, 1.48
# By this much a view moves a value's probability if it says something new.
_NEW = 0.05
# The first reading is so long after a person's first frame, when detector, clothes and colours have had theirs.
_FIRST_READING_S = 0.08
# A posterior is sent again if a value's probability has moved by this, or another value is the likeliest; an outline,
# which a memory keeps while it moves little, whenever it is another.
_WORTH_SENDING = 0.2

# One view: the inputs of `_Reader`.
_EXAMPLE = (
    torch.zeros(1, len(PARTS), 4, PART_PX, PART_PX),
    torch.zeros(1, COLOUR_FEATURES),
    torch.zeros(1, FEATURE_SIZE),
)


@dataclass(slots=True)
class _Wearer:
    """What is known of one person, and what was sent."""

    memory: KindMemory = field(default_factory=KindMemory)
    outline: OutlineMemory = field(default_factory=OutlineMemory)
    sent: Wears = field(default_factory=lambda: Wears({}))
    turn: Turn = field(default_factory=Turn)

    @property
    def was_sent(self) -> bool:
        """Whether the receiver has anything of this person."""
        return bool(self.sent.posterior) or self.sent.outline is not None


class _Reader(nn.Module):
    """The network as a function of tensors: parts, colours and features of photographs → logits."""

    def __init__(self, clothes: KindNet) -> None:
        super().__init__()
        self.clothes = clothes

    def forward(self, parts: Tensor, colours: Tensor, features: Tensor) -> tuple[Tensor]:
        photographs = torch.zeros(parts.shape[0], dtype=torch.long, device=parts.device)
        return (self.clothes(KindViews(parts, colours, features), photographs),)


class KindReader:
    """Reads single views.

    Args:
        mass: of `sender.attributes.kinds.said`.
    """

    def __init__(self, network: NetworkInUse, mass: Mapping[str, float]) -> None:
        self._network, self.mass = network, mass

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls, device: torch.device = CPU) -> Self:
        """The one of this process, with the shipped weights; raises WeightsError as `in_use` and `load_into`."""
        config = KindNetConfig()
        clothes = load_into(made(KindNet, config), WEIGHTS_NAME, architecture_of(config))
        precision = find_entry(WEIGHTS_NAME).precision
        mass = {name: least for name, least in zip(VALUES, clothes.mass.tolist(), strict=True) if least}
        return cls(in_use(_Reader(clothes), _EXAMPLE, WEIGHTS_NAME, precision, device), mass)

    @torch.inference_mode()
    def read(self, image: Image, person: ObservedPerson) -> Mapping[str, FloatArray]:
        """Attribute → the probabilities of its values, from one person in a frame (H, W, 3) uint8 RGB."""
        views = views_of(image, person.crop, person.output)
        (logits,) = self._network(views.parts, views.colours, views.features)
        shares = (part[0].float().softmax(dim=0) for part in by_attribute(logits.cpu()))
        return {name: to_numpy(each) for name, each in zip(VALUES, shares, strict=True)}


class KindStage:
    """Keeps what every tracked person wears.

    In a picture, or the first frame of a source, everybody is read.  Later at most one person is read per frame, and
    each twice a second at most, so that the cost does not grow with the number of people; who is known, less often.

    Args:
        stills: every frame is a picture of its own: what everybody wears comes with it, and nothing is remembered.
        brief: everybody is read in their first frame.
    """

    timed_as = "wears"

    def __init__(
        self, reader: KindReader, outlines: OutlineReader | None = None, *, stills: bool = False, brief: bool = False
    ) -> None:
        self._reader, self._outlines = reader, outlines
        self._stills, self._brief = stills, brief
        self._wearers, self._schedule = Memory(_Wearer), ReadingSchedule()

    @classmethod
    def load(cls, device: torch.device, *, stills: bool = False, brief: bool = False) -> Self:
        """With the networks of this process; errors as of `KindReader.load` and `OutlineReader.load`."""
        return cls(KindReader.load(device), OutlineReader.load(), stills=stills, brief=brief)

    def update(self, perceived: Perceived, people: Sequence[PersonLabels]) -> list[Blob]:
        """Takes one frame and returns the posteriors that have changed.

        What was sent is withdrawn when the person is forgotten, because the identity may be given to another person.
        """
        image, observed = perceived.frame.image, perceived.observed
        if self._stills:
            return [
                Blob(WEARS, person.identity, self._in_picture(image, person, labels).encode())
                for person, labels in zip(observed, people, strict=True)
            ]
        self._schedule.begin(perceived.now_s)
        wearers = [self._wearers.of(each.person) for each in observed]
        at_once = self._brief or perceived.begins
        due = self._schedule.due_of(observed, wearers, first_s=-math.inf if at_once else _FIRST_READING_S)
        known = [each for each in perceived.forgotten if self._wearers.knows(each)]
        withdrawn = [Blob(WEARS, each.identity, WITHDRAWN) for each in known if self._wearers.of(each).was_sent]
        return withdrawn + [blob for row in due for blob in self._read(image, observed[row], people[row])]

    def _in_picture(self, image: Image, person: ObservedPerson, labels: PersonLabels) -> Wears:
        wears = said(self._reader.read(image, person), self._reader.mass)
        return replace(wears, outline=self._outline(image, labels))

    def _outline(self, image: Image, labels: PersonLabels) -> FloatArray | None:
        """(S,) of the head, if the landmarks of its face were read in this frame."""
        if self._outlines is None or labels.face_landmarks is None:
            return None
        return self._outlines.read(image, FaceLandmarks.from_array(labels.face_landmarks))

    def _read(self, image: Image, person: ObservedPerson, labels: PersonLabels) -> list[Blob]:
        wearer = self._wearers.of(person.person)
        before = wearer.memory.posterior
        wearer.memory.add(self._reader.read(image, person))
        wearer.outline.add(self._outline(image, labels))
        posterior = wearer.memory.posterior
        settled = wearer.memory.settled and _change(before, posterior) < _NEW
        self._schedule.was_read(wearer.turn, _SETTLED_EVERY_S if settled else _READ_EVERY_S)
        wears = replace(said(posterior, self._reader.mass), outline=wearer.outline.shown)
        if not worth_sending(wearer.sent, wears):
            return []
        wearer.sent = wears
        return [Blob(WEARS, person.identity, wears.encode())]


def worth_sending(sent: Wears, wears: Wears) -> bool:
    """Whether what is known differs enough from what the receiver has; of an unknown attribute it has what is usual."""
    if wears.outline is not sent.outline:
        return True
    before, after = ({name: each.shares(name) for name in VALUES} for each in (sent, wears))
    if not sent.posterior:
        return bool(wears.posterior)
    moved = any(after[name].argmax() != before[name].argmax() for name in VALUES)
    return moved or _change(before, after) >= _WORTH_SENDING


def _change(before: Mapping[str, FloatArray], after: Mapping[str, FloatArray]) -> float:
    """By how much the probability of the value has moved that has moved most."""
    return max(float(np.abs(shares - before[name]).max()) for name, shares in after.items())
