"""Attribute recognition, the kinds of hair and clothes: what everybody wears, and what is worth sending of it.

The outline of a head is read in the same frames as the kinds, if the landmarks of its face were.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray, Image
from common.blobs import WEARS, Blob
from common.frames import PersonLabels
from common.wear_kinds import VALUES
from common.wears import WITHDRAWN, Wears
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import architecture_of, load_into, made
from common.weights.manifest import find_entry
from sender.attributes.head_outline import OutlineMemory, OutlineReader
from sender.attributes.kind_evidence import COLOUR_FEATURES, PART_PX, PARTS, KindViews, views_of
from sender.attributes.kind_memory import KindMemory
from sender.attributes.kind_network import KindNet, KindNetConfig, by_attribute
from sender.attributes.kind_sets import said
from sender.face.landmarks import FaceLandmarks
from sender.lookahead import Perceived
from sender.people.reading_schedule import ReadingSchedule, Turn
from sender.perception.output import FEATURE_SIZE
from sender.perception.track import Memory, ObservedPerson

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
        mass: of `sender.attributes.kind_sets.said`.
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
