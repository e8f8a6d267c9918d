"""A reconstructor without networks: everybody is a tetrahedron."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from common.frames import Camera, LabelFrame, PersonLabels
from receiver.engine.batching import BATCH_PEOPLE
from receiver.engine.engine import (
    ReconstructedPerson,
    ReconstructionRequest,
    ReconstructionResult,
    RequestWithdrawn,
)
from receiver.engine.reconstructor import InferredFrame
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh

TETRAHEDRON = SurfaceMesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=np.int32),
)
SKELETON = Skeleton(("root",), np.array([-1]), np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.float32)[[0] * 4])


def label_frame(sequence: int, *identities: int, source: str = "clip.mp4") -> LabelFrame:
    """A frame of people without labels."""
    people = tuple(PersonLabels(identity, 1.0, {}) for identity in identities)
    return LabelFrame(sequence, source, 0.0, Camera(640, 480, 600.0), people)


def tetrahedron_of(labels: PersonLabels) -> ReconstructedPerson:
    """A person as a tetrahedron at the origin."""
    body = PosedBody(TETRAHEDRON, np.zeros((1, 3), np.float32), np.eye(3, dtype=np.float32)[None])
    keypoints = np.zeros((17, 3), np.float32)
    return ReconstructedPerson(labels, TETRAHEDRON, body, keypoints, keypoints)


class FakeReconstructor:
    """`Reconstructor` for tests of the engine: records its batches.

    `gate` holds the network passes back, `surface_gate` the surfaces.

    Args:
        bad_source: a batch with a frame of this source fails.
    """

    skeleton = SKELETON
    faces = TETRAHEDRON.faces
    batch_people = BATCH_PEOPLE

    def __init__(self, bad_source: str = "") -> None:
        self.batches: list[list[ReconstructionRequest]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.surface_gate = threading.Event()
        self.surface_gate.set()
        self._bad_source = bad_source

    def prepare(self) -> None:
        self.gate.wait(10)

    def infer(self, requests: Sequence[ReconstructionRequest]) -> list[InferredFrame]:
        self.gate.wait(10)
        self.batches.append(list(requests))
        if any(request.frame.source == self._bad_source for request in requests):
            raise ValueError("a label group is too long")
        return [
            InferredFrame(request.frame.people, {"decode": 1.0}, request)  # type: ignore[arg-type]
            for request in requests
        ]

    def extract(self, frame: InferredFrame) -> ReconstructionResult:
        self.surface_gate.wait(10)
        people = tuple(tetrahedron_of(person) for person in frame.people)  # type: ignore[arg-type]
        return ReconstructionResult(people, {**frame.stages_ms, "surface": 1.0})


class FakeEngine:
    """`ReconstructionEngine` for tests of the pipeline: records its requests; `gate` holds their answers back.

    Args:
        surface: that of everybody.

    Attributes:
        queue_ms: how long requests say that they have waited.
    """

    skeleton = SKELETON
    faces = TETRAHEDRON.faces

    def __init__(self, surface: SurfaceMesh = TETRAHEDRON) -> None:
        self._surface = surface
        self.queue_ms = 0.0
        self.requests: list[ReconstructionRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self._withdrawn: list[ReconstructionRequest] = []

    async def reconstruct(self, request: ReconstructionRequest) -> ReconstructionResult:
        self.requests.append(request)
        await self.gate.wait()
        if any(each is request for each in self._withdrawn):
            raise RequestWithdrawn("the request was withdrawn")
        stages_ms = {"queue": self.queue_ms, "diffusion": 1.0}
        people = (
            replace(tetrahedron_of(each), surface=self._surface, worn=request.appearance_of(each).worn)
            for each in request.frame.people
        )
        return ReconstructionResult(tuple(people), stages_ms)

    def withdraw(self, request: ReconstructionRequest) -> None:
        self._withdrawn.append(request)
        self.gate.set()

    async def close(self) -> None:
        self.closed = True
