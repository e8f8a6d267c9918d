"""Displacements of people in a stream, sampled in some frames and continued in those between.

A sample is the linear reconstruction g of the `surface` labels, plus what the denoiser adds.  g is cheap and follows
the labels in every frame.  The addition depends on the slow labels and weakly on the pose: on the demo clip it differs
by 0.03 mm on average after five frames, and by 2 mm at the worst vertex.  So it is sampled in every eighth frame and
blended into over the next eight, which moves the vertices of the clip by 0.05 mm on average against a sample in every
frame; and at once when the labels have changed, so that other clothes never fade in.

Shapes: B people, T tokens, K coefficients (`receiver.diffusion.displacement_basis`).
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.surface_space import SurfaceSpace
from common.frames import PersonLabels
from common.weights.devices import to_numpy

_SAMPLE_EVERY_FRAMES = 8
# Changes since the last sample that call for another: root mean square of the vertices, and of any entry of `shape`.
_SURFACE_CHANGE_M = 0.0005
_SHAPE_CHANGE = 0.7
# People who are remembered, in all streams; each takes 75 kB.
_REMEMBERED_PEOPLE = 128
_NO_LABELS = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class StreamPerson:
    """One person of one frame of a stream.

    Args:
        stream: the key of the session.
        source: the file or device that the frame comes from.
        sequence: of the frame.
        labels: of the person.
    """

    stream: Hashable
    source: str
    sequence: int
    labels: PersonLabels

    @property
    def key(self) -> tuple[Hashable, int]:
        """Stream and identity."""
        return self.stream, self.labels.identity

    def group(self, name: str) -> FloatArray:
        """The received entries of a label group."""
        return self.labels.labels.get(name, _NO_LABELS)


@dataclass(slots=True)
class _Remembered:
    """What is known of a person after a frame; tensors are (T, K).

    Args:
        person: in the newest frame.
        sampled: the person in the frame of the last sample.
        linear: g of the newest frame.
        before, after: what is added to g in the frame before the last sample, and in full blend after it.
        added: what was added in the newest frame.
    """

    person: StreamPerson
    sampled: StreamPerson
    linear: Tensor
    before: Tensor
    after: Tensor
    added: Tensor


class DisplacementMemory:
    """Continues the displacements of people; used by one thread at a time.

    People of different streams, and of different sources of one stream, never mix.  Somebody who was not in the last
    eight frames is forgotten, and so are those seen longest ago when there are more than 128.

    Args:
        space: says how far `surface` labels move the vertices.
    """

    def __init__(self, space: SurfaceSpace) -> None:
        basis = to_numpy(space.basis)
        # Mean over the vertices of the squared displacement per squared entry.
        self._mean_squares: FloatArray = np.square(basis).sum((1, 2)) / basis.shape[1]
        self._people: OrderedDict[tuple[Hashable, int], _Remembered] = OrderedDict()

    def due(self, people: Sequence[StreamPerson]) -> list[int]:
        """Rows of the people whose displacements have to be sampled."""
        return [row for row, person in enumerate(people) if self._due(person)]

    def unchanged(self, person: StreamPerson) -> bool:
        """Whether the person's `surface` labels, and so g, are those of the last frame."""
        known = self._people.get(person.key)
        return known is not None and np.array_equal(known.person.group("surface"), person.group("surface"))

    def linear(self, person: StreamPerson) -> Tensor:
        """g (T, K) of the person's last frame.

        Raises:
            KeyError: the person is not known.
        """
        return self._people[person.key].linear

    def continued(self, people: Sequence[StreamPerson], linear: Sequence[Tensor], sampled: dict[int, Tensor]) -> Tensor:
        """The coefficients (B, T, K) of people in this frame, which is remembered.

        Args:
            people: of whom those in `due` have a sample.
            linear: g (T, K) of each.
            sampled: samples (T, K) by row.
        """
        coefficients = []
        for row, (person, g) in enumerate(zip(people, linear, strict=True)):
            known = self._sampled(person, g, sampled[row]) if row in sampled else self._people[person.key]
            known.person, known.linear = person, g
            share = min((person.sequence - known.sampled.sequence + 1) / _SAMPLE_EVERY_FRAMES, 1.0)
            known.added = torch.lerp(known.before, known.after, share)
            self._people[person.key] = known
            self._people.move_to_end(person.key)
            coefficients.append(g + known.added)
        self._forget(people)
        return torch.stack(coefficients)

    def _sampled(self, person: StreamPerson, g: Tensor, sample: Tensor) -> _Remembered:
        """With a new sample, to which a person who continues is blended."""
        after = sample - g
        known = self._people.get(person.key)
        before = known.added if known is not None and self._continues(known, person) else after
        return _Remembered(person, person, g, before, after, before)

    def _due(self, person: StreamPerson) -> bool:
        known = self._people.get(person.key)
        if known is None or not self._continues(known, person):
            return True
        elapsed = person.sequence - known.sampled.sequence
        # People who came together are sampled in different frames.
        turn = (person.sequence + person.labels.identity) % _SAMPLE_EVERY_FRAMES == 0
        return turn or elapsed >= _SAMPLE_EVERY_FRAMES

    def _continues(self, known: _Remembered, person: StreamPerson) -> bool:
        """Whether this is a later frame of somebody in the same clothes."""
        gap = person.sequence - known.person.sequence
        if known.person.source != person.source or not 0 < gap <= _SAMPLE_EVERY_FRAMES:
            return False
        before, now = known.sampled.group("surface"), person.group("surface")
        shape_before, shape_now = known.sampled.group("shape"), person.group("shape")
        if len(before) != len(now) or len(shape_before) != len(shape_now):
            return False
        moved_m = float(np.sqrt(self._mean_squares[: len(now)] @ np.square(now - before)))
        return moved_m < _SURFACE_CHANGE_M and float(np.abs(shape_now - shape_before).max(initial=0)) < _SHAPE_CHANGE

    def _forget(self, people: Sequence[StreamPerson]) -> None:
        newest = {person.stream: person.sequence for person in people}
        for key, known in list(self._people.items()):
            if newest.get(key[0], 0) - known.person.sequence > _SAMPLE_EVERY_FRAMES:
                del self._people[key]
        while len(self._people) > _REMEMBERED_PEOPLE:
            self._people.popitem(last=False)
