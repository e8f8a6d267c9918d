"""From label frames to meshes on one device: decode ─ diffusion (outfits) ─ body (the displaced template) ─ surface.

Two halves, so that an engine can overlap them: `infer` runs the networks on a batch of frames, `extract` builds the
surfaces of one frame on the CPU.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.anatomy import KEYPOINT_GROUPS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.body.surface_space import SurfaceSpace
from common.frames import NEAR_M, Camera, PersonLabels
from common.io.telemetry import timed
from common.texture.atlas import AtlasLayout
from common.weights.devices import CPU, to_numpy
from receiver.body.skinning import BodySkin, PosedTemplates
from receiver.decode.labelled_body import LabelledBody, read_labels
from receiver.decode.person_scale import ScaleEstimator
from receiver.engine.engine import ReconstructedPerson, ReconstructionRequest, ReconstructionResult
from receiver.engine.topology import PeopleTopology
from receiver.mesh.skinned_glb import Skeleton
from receiver.outfits.displacements import Displacements
from receiver.outfits.guidance import Guidance
from receiver.surface.config import SurfaceConfig
from receiver.surface.people import PeopleSurfaces
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import Painter


@dataclass(frozen=True, slots=True)
class InferredFrame:
    """One request after the networks; `extract` completes it.

    Args:
        people: their surfaces are not made yet.
        surfaces: whether somebody waits for the surfaces.
    """

    people: tuple[ReconstructedPerson, ...]
    stages_ms: Mapping[str, float]
    surfaces: bool = True


class Reconstructor:
    """The networks and the body on one device, without any state of a session."""

    def __init__(
        self,
        body: BodyModel,
        labels: LabelSpace,
        clothes: SurfaceSpace,
        surface: SurfaceConfig,
    ) -> None:
        self._labels = labels
        self._kinematics = KeypointKinematics(body)
        self._scales = ScaleEstimator(body)
        self._skin = BodySkin.from_model(body)
        self._displacements = Displacements(clothes, Guidance.load(self._skin.template, clothes), self._skin.span)
        layout = AtlasLayout.from_body(body)
        self._face = FaceDetail(body, self._skin.template, layout)
        self._painter = Painter(body, self._skin.template, layout, self._face)
        self._surfaces = PeopleSurfaces(
            surface, body, self._skin.template, self._face, clothes.mean, self._painter.corners
        )

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton that every posed body refers to."""
        return self._skin.skeleton

    @property
    def topology(self) -> PeopleTopology:
        """What all people have in common."""
        return PeopleTopology(
            self._skin.template.faces, self._painter.corners, self._surfaces.faces, self._surfaces.corners
        )

    @classmethod
    def load(
        cls,
        surface: SurfaceConfig | None = None,
        device: torch.device = CPU,
    ) -> Self:
        """With the package's weights. Raises WeightsError if they are missing or of another version."""
        spaces = LabelSpace.load().to(device), SurfaceSpace.load().to(device)
        return cls(BodyModel.load().to(device), *spaces, surface or SurfaceConfig())

    def reconstruct(self, request: ReconstructionRequest) -> ReconstructionResult:
        """One frame from labels to meshes, in this thread. Raises ValueError for an unknown or too long label group."""
        return self.extract(self.infer([request])[0])

    def infer(self, requests: Sequence[ReconstructionRequest]) -> list[InferredFrame]:
        """Networks and skinning for everybody in all frames, in one batch. Raises ValueError as `reconstruct`."""
        people = [person for request in requests for person in request.frame.people]
        if not people:
            return [InferredFrame((), {}) for _ in requests]
        stages_ms: dict[str, float] = {}
        with self._timed("decode", stages_ms):
            labelled = read_labels(people, self._labels)
        with self._timed("diffusion", stages_ms):
            worn = [
                self._displacements.clothes(person, request.appearance_of(person).worn)
                for request in requests
                for person in request.frame.people
            ]
        with self._timed("body", stages_ms), torch.inference_mode():
            output = self._skin.templates(labelled.parameters, worn)
            joints_BK3 = to_numpy(self._kinematics(labelled.parameters)[0])
        batch = _Batch(labelled, output, joints_BK3, tuple(each.part for each in worn))
        rows = itertools.count()
        return [
            InferredFrame(
                tuple(self._person(batch, next(rows), person, request) for person in request.frame.people),
                stages_ms,
                request.still or request.surfaces,
            )
            for request in requests
        ]

    def extract(self, frame: InferredFrame) -> ReconstructionResult:
        """Makes the surfaces of one frame from its templates, if somebody waits for them."""
        stages_ms, people = dict(frame.stages_ms), frame.people
        with self._timed("surface", stages_ms):
            if frame.surfaces:
                people = tuple(replace(person, made_surface=person.surface) for person in people)
        return ReconstructionResult(people, stages_ms if people else {})

    @staticmethod
    @contextmanager
    def _timed(stage: str, stages_ms: dict[str, float]) -> Iterator[None]:
        with timed() as span:
            yield
        stages_ms[stage] = span.ms

    def _person(
        self, batch: "_Batch", row: int, labels: PersonLabels, request: ReconstructionRequest
    ) -> ReconstructedPerson:
        appearance, camera = request.appearance_of(labels), request.frame.camera
        paint = None
        if appearance.texture is not None:
            paint = self._painter.paint(appearance.texture, batch.colours[row], batch.parts[row])
        region_colours = batch.colours[row] if batch.coloured[row] else None
        body = self._skin.pose(batch.output, row, region_colours, paint, self._face)
        surface = partial(self._surfaces.carried, body)
        if request.still:
            pixels_per_metre = camera.focal_px / max(float(batch.depth_m[row]), NEAR_M)
            surface = partial(self._surfaces.solved, body, pixels_per_metre, request.people_in_frame)
        return ReconstructedPerson(
            labels,
            surface,
            body,
            _keypoints_2d(batch.joints_BK3[row], camera, labels),
            batch.joints_BK3[row],
            None if request.still else self._surfaces.corners,
            self._scales.scale(labels, camera, batch.joints_BK3[row]),
            appearance.worn,
        )


def infer_each(
    reconstructor: Reconstructor, requests: Sequence[ReconstructionRequest]
) -> tuple[dict[str, float], list[InferredFrame | Exception]]:
    """Times of a network pass, and its results; if it fails, each request goes alone, so that one fails no other."""
    try:
        inferred = reconstructor.infer(requests)
    except Exception as error:
        if len(requests) == 1:
            return {}, [error]
        alone = [infer_each(reconstructor, [request]) for request in requests]
        return next((stages for stages, _ in alone if stages), {}), [each for _, (each,) in alone]
    return dict(inferred[0].stages_ms), [replace(each, stages_ms={}) for each in inferred]


class _Batch:
    """A batch after the networks; what is needed of each person is copied from the device once.

    Args:
        depth_m: (B,) camera z of the root joints.
        colours: (B, R, 3) of the body regions, 0…1.
        coloured: (B,) whether any `appearance` labels were received.
        parts: B × (V',) what is outermost (`Clothes.part`).
    """

    def __init__(
        self,
        labelled: LabelledBody,
        output: PosedTemplates,
        joints_BK3: FloatArray,
        parts: tuple[IntArray | None, ...],
    ) -> None:
        self.output = output
        self.joints_BK3 = joints_BK3
        self.parts = parts
        self.depth_m: FloatArray = to_numpy(labelled.parameters.translation[:, 2])
        self.colours: FloatArray = to_numpy(labelled.colours)
        self.coloured: BoolArray = to_numpy(labelled.coloured)


def _keypoints_2d(joints_3d: FloatArray, camera: Camera, person: PersonLabels) -> FloatArray:
    """(17, 3) pixels and confidence of keypoints (17, 3) in camera space.

    The confidence is 0 of those that the camera cannot see: behind it, or outside of its picture.
    """
    confidence = np.array([person.confidence.get(group, 0.0) for group in KEYPOINT_GROUPS])
    pixels = camera.project(joints_3d)
    inside = ((pixels >= 0) & (pixels <= [camera.width, camera.height])).all(axis=1)
    scores = np.where((joints_3d[:, 2] > NEAR_M) & inside, confidence, 0.0)
    return np.concatenate([pixels, scores[:, None]], axis=1).astype(np.float32)
