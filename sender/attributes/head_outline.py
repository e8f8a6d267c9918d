"""Reads the outline of a head with its hair from a picture.

    face's landmarks ─ similarity ─ bare mean head in the picture ─┐
    picture ─ MediaPipe's selfie segmentation ─ mask ─ rays ───────┴─ how far hair reaches beyond it

Both sides count alike; of two that differ much, the nearer one: beyond the other may be somebody else, or a hand.

Shapes: H vertices of the head, D directions, S sectors, of `common.head_outline`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, Image
from common.body.model import BodyModel
from common.head_outline import DIRECTIONS, SECTORS, head_vertices, in_sectors, middle_of, radii
from common.weights.landmark_networks import load_network
from sender.face.actions import FaceActions
from sender.face.alignment import TEMPLATE_AT_M
from sender.face.landmarks import FaceLandmarks
from sender.perception.crop import similarity

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
        return None if np.isnan(sides[:, : len(SECTORS) - 1]).all(axis=0).any() else _of_sides(*sides)

    def _mask(self, image: Image, transform: Float64Array) -> tuple[FloatArray, FloatArray]:
        """(256, 256) probability of a person, and 1 inside of the picture, of a part of the image."""
        shrinks = abs(transform[0, 0]) < 1
        size, how = (_PX, _PX), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        picture = cv2.warpAffine(image, transform, size, flags=how, borderValue=_GREY)
        (mask,) = self._network(torch.from_numpy(picture)[None].float() / 255)
        inside = cv2.warpAffine(np.ones(image.shape[:2], np.float32), transform, size, flags=cv2.INTER_NEAREST)
        return mask.reshape(_PX, _PX).numpy(), np.asarray(inside, np.float32)


def _of_sides(left: FloatArray, right: FloatArray) -> FloatArray:
    """(S,) of both sides of a head; NaN where neither is known."""
    alike = np.abs(left - right) <= _ALIKE_M
    return np.asarray(np.where(alike, (left + right) / 2, np.fmin(left, right)), np.float32)


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
