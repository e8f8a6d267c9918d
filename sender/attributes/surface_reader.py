"""Attribute recognition, what clothes and hair add to the body: `surface` labels from all views of a person."""

import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray, Image
from common.body.anatomy import POINTS, TOKENS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera
from common.labels import concatenate
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import architecture_of, load_into, made
from common.weights.manifest import find_entry
from common.weights.threads import side_by_side
from sender.attributes.surface_evidence import (
    FEATURES,
    PLACES_M,
    SURFACE_PX,
    SurfaceViews,
    evidence,
    silhouette_and_relief,
    token_positions,
)
from sender.attributes.surface_memory import SurfaceMemory
from sender.attributes.surface_network import SurfaceEstimate, SurfaceNet, SurfaceNetConfig
from sender.people.view import PeopleView, PersonView
from sender.perception.output import FEATURE_SIZE
from sender.perception.track import Memory, ObservedPerson
from sender.semantics.stage import confidence_of_entries

WEIGHTS_NAME = "clothing"
GROUP = "surface"
# Seconds from one reading of a person to the next.  From a direction that has been seen so often, the next view tells
# little.
_OBSERVE_EVERY_S, _KNOWN_EVERY_S, _KNOWN_VIEWS = 0.15, 0.48, 4


# One view: the inputs of `_Reader`.
_EXAMPLE = (
    torch.zeros(1, POINTS, FEATURES),
    torch.zeros(1, TOKENS, len(PLACES_M), 2),
    torch.zeros(1, 3, SURFACE_PX, SURFACE_PX),
    torch.zeros(1, 2, SURFACE_PX // 2, SURFACE_PX // 2),
    torch.zeros(1, FEATURE_SIZE),
)


class _Reader(nn.Module):
    """The network as a function of tensors: what `SurfaceViews` has → mean and log-variance."""

    def __init__(self, network: SurfaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        estimate: SurfaceEstimate = self.network(SurfaceViews(*views))
        return estimate.mean, estimate.log_variance


def _load() -> _Reader:
    config = SurfaceNetConfig()
    return _Reader(load_into(made(SurfaceNet, config), WEIGHTS_NAME, architecture_of(config)))


class SurfaceReader:
    """Reads the clothes of every tracked person.

    A person who appears is read at once; then at most one person is read per frame, and each six times a second at
    most, so that the cost does not grow with the number of people; whose side is known, twice.
    """

    part = "clothing"

    def __init__(self, network: SurfaceNet | NetworkInUse, space: LabelSpace, body: BodyModel) -> None:
        if isinstance(network, SurfaceNet):
            network = NetworkInUse(_Reader(network.eval().requires_grad_(False)), "float32", CPU)
        self._network = network
        self._space = space
        self._body = body
        self._wearers = Memory(SurfaceMemory)

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing or of another version."""
        entry = find_entry(WEIGHTS_NAME)
        reader = in_use(_load, _EXAMPLE, WEIGHTS_NAME, entry.precision, device, stored=entry)
        return cls(reader, LabelSpace.load(), BodyModel.load())

    def label(self, view: PeopleView) -> None:
        """Writes `surface` labels, with standard deviations and confidence."""
        known = [self._wearers.of(person.seen.person) for person in view.people]
        due = view.schedule.due_of([person.seen for person in view.people], known)
        list(side_by_side(self._read, [(view, view.people[row], known[row]) for row in due]))
        for person, wearer in zip(view.people, known, strict=True):
            mean, sigma = wearer.estimate
            person.write(GROUP, mean, float(confidence_of_entries(sigma)), sigma)

    def _read(self, view: PeopleView, person: PersonView, wearer: SurfaceMemory) -> None:
        seen, heading = self.view(view.image, view.camera, person.seen, person.labels)
        mean, variance = self.read(seen)
        views = wearer.add(to_numpy(mean[0]), to_numpy(variance[0]), heading)
        view.schedule.was_read(wearer.turn, _KNOWN_EVERY_S if views >= _KNOWN_VIEWS else _OBSERVE_EVERY_S)

    @torch.inference_mode()
    def view(
        self, image: Image, camera: Camera, person: ObservedPerson, labels: Mapping[str, FloatArray]
    ) -> tuple[SurfaceViews, float]:
        """What one view shows of one person, and the heading: the angle from the camera to the person's front."""
        parameters = self._space.decode(torch.from_numpy(concatenate(labels))[None])
        posed = self._body(parameters)
        points, normals = (values[0].numpy() for values in self._body.surface_points(posed.vertices))
        picture: FloatArray = np.divide(person.crop.cut(image, SURFACE_PX), 255, dtype=np.float32)
        root_depth_m = float(posed.joint_positions[0, 0, 2])
        of_points = evidence(points, normals, root_depth_m, picture, person.output, person.crop, camera)
        views = SurfaceViews(
            _batch(of_points),
            _batch(token_positions(points, normals, person.crop, camera)),
            _batch(picture.transpose(2, 0, 1)),
            _batch(silhouette_and_relief(person.output, SURFACE_PX // 2)),
            person.output.features().float(),
        )
        # At rest a person faces the camera, along −z.
        front = -parameters.rotations[0, 0, :, 2]
        return views, math.atan2(float(front[0]), -float(front[2]))

    @torch.inference_mode()
    def read(self, views: SurfaceViews) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, 24) of single views."""
        mean, log_variance = (
            output.cpu()
            for output in self._network(views.evidence, views.places, views.picture, views.maps, views.features)
        )
        return mean, log_variance.exp()


def _batch(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[None]
