"""From labels to bodies and surfaces in batches, and the engine that does it on this machine.

Shapes: B people, E entries of labels, S = 52 bones, V' vertices of the template, L of them on the legs.

From label frames to meshes on one device: decode ─ diffusion (outfits) ─ body (the displaced template) ─ surface.

Two halves, so that an engine can overlap them: `infer` makes bodies and surfaces of a batch of frames, which is all
that a stream has; `extract` solves the surfaces of a photograph anew, on the CPU.

The reconstruction engine in this process: fair and batched, with the surfaces of stills beside the networks.

    requests ─ people ─ fair queue ─ batch ─ networks (one thread) ─┬─ results
                                                  surfaces of stills (a thread a core)

A frame is split into its people, so that a frame of many does not delay the frames of others by more than a few people.
While the surfaces of stills are solved, the networks run on the next batch.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray, Int32Array
from common.body.faces import ExpressionSpace
from common.body.label_space import LabelSpace, SurfaceSpace, decode_root
from common.body.model import BodyModel, KeypointKinematics, axis_angle_to_matrix, load_head_shapes
from common.clock import SYSTEM_CLOCK, Clock
from common.frames import NEAR_M, PersonLabels, has_face, unseen_limbs
from common.io.telemetry import timed
from common.labels import LABEL_SIZE, concatenate, group_slices
from common.texture.atlas import AtlasLayout
from common.weights.captured import MOST_ROWS
from common.weights.devices import CPU, device_of, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.threads import available_cores, side_by_side
from receiver.body.person_scale import PersonScale, ScaleEstimator, keypoint_confidence
from receiver.body.skinning import BodySkin, Clothes, TemplateSkinning, stacked
from receiver.config import SurfaceConfig
from receiver.engine.batching import BATCH_PEOPLE, BatchingEngine, FairExecutor, PendingPerson, Room
from receiver.engine.engine import (
    PersonAppearance,
    Priority,
    ReconstructedPerson,
    ReconstructionRequest,
    ReconstructionResult,
)
from receiver.engine.observer import EngineObserver
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.outfits.guidance import Displacements, Outfits
from receiver.surface.binding import SurfaceCarrying
from receiver.surface.people import PeopleSurfaces
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import Painter


class BonesNetwork(nn.Module):
    """Poses skeletons.

    Args:
        kinematics: of the body, on the device of the labels' space.
    """

    base: Tensor
    directions: Tensor

    def __init__(self, labels: LabelSpace, kinematics: KeypointKinematics) -> None:
        super().__init__()
        self.labels, self.kinematics = labels, kinematics
        base, directions = labels.rotation_vectors(kinematics.body)
        self.register_buffer("base", base, persistent=False)
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, labels_BE: Tensor) -> tuple[Tensor, ...]:
        """Heads of bones (B, S, 3) and their rotations (B, S, 3, 3), COCO keypoints (B, 17, 3), all in camera space.

        Behind them colours of the regions (B, R, 3); from labels in which missing entries are zero.
        """
        slices = group_slices()
        orientation, translation = decode_root(labels_BE[:, slices["root"]])
        # Affine in the labels: one product in place of one for each group and one for the fingers.
        vectors = torch.addmm(self.base, labels_BE, self.directions).reshape(len(labels_BE), -1, 3)
        local = torch.cat([orientation[:, None], axis_angle_to_matrix(vectors)], 1)
        shape = labels_BE[:, slices["shape"]]
        positions, rotations = self.kinematics.body.chained(local, shape, translation)
        keypoints = self.kinematics.keypoints(shape, positions, rotations)
        return positions, rotations, keypoints, self.labels.decode_colours(labels_BE)


class PeopleNetwork(nn.Module):
    """Poses people.

    Args:
        bones: a `BonesNetwork`, maybe in use.
        surface: of the mesh that all people have in common.
    """

    def __init__(
        self,
        bones: Callable[[Tensor], tuple[Tensor, ...]],
        skinning: TemplateSkinning,
        surface: SurfaceCarrying,
    ) -> None:
        super().__init__()
        self.bones, self.skinning, self.surface = bones, skinning, surface

    @classmethod
    def in_use(cls, bones: BonesNetwork, skinning: TemplateSkinning, surface: SurfaceCarrying) -> NetworkInUse:
        """On the device of its parts.

        Of the CPU, OpenVINO takes the many small products of bones; sparse ones are faster for all people at once.
        """
        device = device_of(bones)
        small = in_use(bones, [torch.zeros(1, LABEL_SIZE)], "bones") if device == CPU else bones
        return NetworkInUse(cls(small, skinning, surface).eval(), "float32", device, name="people")

    def forward(
        self, labels_BE: Tensor, displacement: Tensor, shares: Tensor, activations: Tensor
    ) -> tuple[Tensor, ...]:
        """Templates (B, V', 3) in camera space, what `BonesNetwork` has, and surfaces (B, N, 3).

        Args:
            labels_BE: (B, E), in which missing entries are zero.
            displacement, shares, activations: as for `TemplateSkinning`.
        """
        positions, rotations, *others = self.bones(labels_BE)
        shape = labels_BE[:, group_slices()["shape"]]
        vertices = self.skinning(shape, positions, rotations, displacement, shares, activations)
        return vertices, positions, rotations, *others, self.surface(vertices, rotations)


# People without a texture whose colours are kept.
_UNPAINTED_PEOPLE = 128


@dataclass(frozen=True, slots=True)
class InferredFrame:
    """One request after the networks; `extract` completes it.

    Args:
        still: the request if it is of a still, whose surfaces `extract` solves, which takes long.
    """

    people: tuple[ReconstructedPerson, ...]
    stages_ms: Mapping[str, float]
    still: ReconstructionRequest | None = None


class Reconstructor:
    """The networks and the body on one device, without any state of a session.

    It has a skeleton at once, and reconstructs when it is prepared.
    """

    def __init__(self, body: BodyModel, surface: SurfaceConfig) -> None:
        self._device, self._surface = device_of(body), surface
        self._skin = BodySkin.from_model(body)

    def prepare(self) -> None:
        """Loads the networks, and what follows from the body. Raises WeightsError as `load`."""
        body, labels = self._skin.model, LabelSpace.load().to(self._device)
        self._scales = ScaleEstimator(body)
        self._expression = ExpressionSpace.load()
        outfits = Outfits.load(self._skin.template, self._device)
        head = load_head_shapes(body).cpu()[:, self._skin.template.kept]
        self._displacements = Displacements(head, outfits, self._skin.span)
        layout = AtlasLayout.from_body(body)
        face = FaceDetail(body, self._skin.template, layout)
        self._painter = Painter(body, self._skin.template, layout, face)
        self._surfaces = PeopleSurfaces(
            self._surface, body, self._skin.template, face.geometry, SurfaceSpace.load().mean, self._painter.corners
        )
        self._drawn = lru_cache(_UNPAINTED_PEOPLE)(
            lambda colours: face.on_vertices(self._skin.coloured(np.frombuffer(colours, np.float32).reshape(-1, 3)))
        )
        self._network = PeopleNetwork.in_use(
            BonesNetwork(labels, KeypointKinematics(body)), self._skin.skinning, self._surfaces.binding.carrying
        )
        # Captured at the start, not in the first frame.
        self._network(torch.zeros(1, LABEL_SIZE), *stacked([self._skin.bare]), torch.zeros(1, 0))

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton that every posed body refers to."""
        return self._skin.skeleton

    @property
    def faces(self) -> Int32Array:
        """(F, 3) triangles of every body."""
        return self._skin.template.faces

    @property
    def batch_people(self) -> int:
        """Most people in one pass: on a GPU as many as a graph has rows."""
        return BATCH_PEOPLE if self._device == CPU else MOST_ROWS

    @classmethod
    def load(
        cls,
        surface: SurfaceConfig | None = None,
        device: torch.device = CPU,
        *,
        prepared: bool = True,
    ) -> Self:
        """With the package's weights. Raises WeightsError if they are missing or of another version.

        Args:
            prepared: False to leave `prepare` to the caller.
        """
        reconstructor = cls(BodyModel.load().to(device), surface or SurfaceConfig())
        if prepared:
            reconstructor.prepare()
        return reconstructor

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
            labels_BE = torch.from_numpy(np.stack([concatenate(person.labels) for person in people]))
        appearance = [request.appearance_of(person) for request in requests for person in request.frame.people]
        with self._timed("diffusion", stages_ms):
            worn = [
                self._displacements.clothes(person, each.worn) for person, each in zip(people, appearance, strict=True)
            ]
        with self._timed("body", stages_ms):
            # (B, 52) of the facial actions; (B, 0) if nobody's face is known.
            activations = self._expression.activations(labels_BE) if any(map(has_face, people)) else labels_BE[:, :0]
            batch = _Batch(requests, self._network(labels_BE, *stacked(worn), activations))
            seen = batch.confidence_BK.mean(axis=1).tolist()
            scales = map(self._scales.scale, people, batch.cameras, batch.joints_BK3, seen)
            each = zip(people, appearance, worn, scales, to_numpy(activations), strict=True)
            rows = [(batch, row, *of_row) for row, of_row in enumerate(each)]
            # Stills, which nobody has seen before, are painted.
            over = side_by_side if any(request.still for request in requests) else itertools.starmap
            made = iter(list(over(self._person, rows)))
        return [
            InferredFrame(
                tuple(itertools.islice(made, len(request.frame.people))), stages_ms, request if request.still else None
            )
            for request in requests
        ]

    def extract(self, frame: InferredFrame) -> ReconstructionResult:
        """Solves the surfaces of a still in their poses."""
        stages_ms, people = dict(frame.stages_ms), frame.people
        with self._timed("surface", stages_ms):
            if (request := frame.still) is not None:
                people = tuple(replace(person, surface=self._solved(request, person.body)) for person in people)
        return ReconstructionResult(people, stages_ms if people else {})

    def _solved(self, request: ReconstructionRequest, body: PosedBody) -> SurfaceMesh:
        pixels_per_metre = request.frame.camera.focal_px / max(float(body.joint_positions[0, 2]), NEAR_M)
        return self._surfaces.solved(body, pixels_per_metre, request.people_in_frame)

    @staticmethod
    @contextmanager
    def _timed(stage: str, stages_ms: dict[str, float]) -> Iterator[None]:
        with timed() as span:
            yield
        stages_ms[stage] = span.ms

    def _person(
        self,
        batch: "_Batch",
        row: int,
        labels: PersonLabels,
        appearance: PersonAppearance,
        worn: Clothes,
        scale: PersonScale,
        activations: FloatArray,
    ) -> ReconstructedPerson:
        request, colours, paint = batch.requests[row], None, None
        if appearance.texture is not None:
            # Who watches waits for no paint: a person has the last one until the next is dry.
            may_wait = request.priority is Priority.LIVE and not request.still
            paint = self._painter.paint(appearance.texture, batch.colours[row], worn.part, may_wait=may_wait)
            colours = paint.vertices
        elif len(labels.labels.get("appearance", ())):
            colours = self._drawn(batch.colours[row].tobytes())
        mesh = SurfaceMesh(batch.vertices[row], self._skin.template.faces, colours)
        texture = None if paint is None else paint.texture
        face = activations if has_face(labels) else None
        joints, unseen = (batch.positions[row], batch.rotations[row]), unseen_limbs(labels)
        body = PosedBody(mesh, *joints, texture, worn.reweighted, face, unseen)
        return ReconstructedPerson(
            labels,
            self._surfaces.coloured(batch.surfaces[row], colours),
            body,
            batch.keypoints_BK3[row],
            batch.joints_BK3[row],
            None if request.still else self._surfaces.corners,
            scale,
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
    """B people after the network, on the host.

    Args:
        requests: each has one or more of the people.
        outputs: of `PeopleNetwork`.

    Attributes:
        requests, cameras: of each person.
        keypoints_BK3: pixels and confidence.
    """

    def __init__(self, requests: Sequence[ReconstructionRequest], outputs: Sequence[Tensor]) -> None:
        self.requests = [request for request in requests for _ in request.frame.people]
        self.cameras = [request.frame.camera for request in self.requests]
        self.vertices, self.positions, self.rotations, self.joints_BK3, self.colours, self.surfaces = map(
            to_numpy, outputs
        )
        people = [person for request in requests for person in request.frame.people]
        self.confidence_BK = keypoint_confidence(people)
        self.keypoints_BK3 = self._keypoints_2d()

    def _keypoints_2d(self) -> FloatArray:
        """(B, 17, 3) pixels and confidence of the keypoints.

        The confidence is 0 of those that the camera cannot see: behind it, or outside of its picture.
        """
        focal_px = np.array([camera.focal_px for camera in self.cameras], np.float32)[:, None, None]
        size = np.array([(camera.width, camera.height) for camera in self.cameras])[:, None]
        depth = self.joints_BK3[..., 2:]
        pixels = focal_px * self.joints_BK3[..., :2] / np.maximum(depth, NEAR_M) + size / 2
        seen = (depth > NEAR_M) & ((pixels >= 0) & (pixels <= size)).all(axis=2, keepdims=True)
        scores = np.where(seen, self.confidence_BK[..., None], 0)
        return np.concatenate([pixels, scores], axis=2).astype(np.float32)


class LocalEngine(BatchingEngine):
    """A `ReconstructionEngine` in this process: one thread runs the networks, several solve surfaces."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        batch_people: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
        observer: EngineObserver | None = None,
    ) -> None:
        super().__init__(batch_people or reconstructor.batch_people, clock, observer)
        self._observer.replicas_running(1)
        self._reconstructor = reconstructor
        self._networks = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._surfaces = FairExecutor(min(4, available_cores()), "surface")
        self._extractions: set[asyncio.Task[None]] = set()
        self._in_use = asyncio.Lock()

    @property
    def skeleton(self) -> Skeleton:
        return self._reconstructor.skeleton

    async def prepare(self) -> None:
        """Prepares the reconstructor; requests wait meanwhile. Raises WeightsError as `Reconstructor.prepare`."""
        async with self._in_use:
            await asyncio.get_running_loop().run_in_executor(self._networks, self._reconstructor.prepare)

    async def close(self) -> None:
        await super().close()
        await asyncio.gather(*self._extractions)
        self._networks.shutdown()
        self._surfaces.shutdown()

    def _room(self) -> Room:
        """A batch, unless enough people wait for surfaces."""
        most = self._batch_people
        # One batch in the networks, and almost one in the surfaces.
        return Room(most if len(self._begun) < most else 0, alone=2 * most)

    async def _begin(self, batch: list[PendingPerson]) -> None:
        for part, inferred in zip(batch, await self._infer(batch), strict=True):
            if isinstance(inferred, Exception):
                part.frame.fail(inferred)
            if isinstance(inferred, Exception) or part.frame.result.done():
                self._finish(part)
            elif inferred.still is None:
                part.frame.complete(part.number, self._reconstructor.extract(inferred), self._clock.monotonic())
                self._finish(part)
            else:
                task = asyncio.create_task(self._extract(part, inferred))
                self._extractions.add(task)
                task.add_done_callback(self._extractions.discard)

    async def _infer(self, batch: list[PendingPerson]) -> list[InferredFrame | Exception]:
        requests = [part.request for part in batch]
        loop = asyncio.get_running_loop()
        async with self._in_use:
            began_s = self._clock.monotonic()
            stages_ms, inferred = await loop.run_in_executor(self._networks, infer_each, self._reconstructor, requests)
        if stages_ms:
            self._add_pass(len(batch), (self._clock.monotonic() - began_s) * 1e3)
        for frame in {part.frame for part in batch}:
            frame.add_times(stages_ms)
        return inferred

    async def _extract(self, part: PendingPerson, inferred: InferredFrame) -> None:
        try:
            result = await self._surfaces.run(*part.frame.session, self._reconstructor.extract, inferred)
        except Exception as error:  # any error belongs to the caller
            part.frame.fail(error)
        else:
            part.frame.complete(part.number, result, self._clock.monotonic())
        finally:
            self._finish(part)
