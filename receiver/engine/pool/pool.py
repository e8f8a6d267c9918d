"""The seam between the engine and the pool that it uses: what a batch is, and how it can fail."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from common.arrays import Int32Array
from common.errors import BodywireError
from receiver.engine.engine import ReconstructionRequest, ReconstructionResult
from receiver.mesh.skinned_glb import Skeleton


class ReplicaLost(BodywireError):
    """The replica that was to reconstruct a batch has ended; another one may try."""


class PoolFull(BodywireError):
    """As many batches as may wait for a replica wait already."""


class Reference(Protocol):
    """Refers to an object that replicas can fetch, by awaiting the reference."""

    def hex(self) -> str:
        """Identifies the object."""

    def __await__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class PersonWork:
    """All that the result for one person depends on.

    Args:
        request: has this person alone, without a texture.
        texture: of the person's `ReceivedTexture`, if any.
    """

    request: ReconstructionRequest
    texture: Reference | None = None


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What a replica made of a batch.

    Args:
        outcomes: for each person its result, or the error that it failed with.
        stages_ms: time of the network pass by stage; times of surfaces are in the results.
        busy_s: how long the replica has had work since its last answer to anybody.
    """

    outcomes: tuple[ReconstructionResult | Exception, ...]
    stages_ms: dict[str, float]
    busy_s: float


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What replicas have in common.

    Args:
        build: versions, weights and options.
        faces: (F, 3) triangles of all bodies.
    """

    build: str
    skeleton: Skeleton
    faces: Int32Array


class Pool(Protocol):
    """Replicas that reconstruct batches."""

    @property
    def facts(self) -> PoolFacts:
        """Of its replicas."""

    @property
    def most_replicas(self) -> int:
        """How many replicas the pool may grow to."""

    def share(self, value: object) -> Reference:
        """Makes an object available to replicas until the reference is dropped."""

    def reconstruct(self, batch: Sequence[PersonWork]) -> Awaitable[BatchDone]:
        """Waits for a replica for a batch. Raises ReplicaLost if it has ended, PoolFull if too many wait."""

    async def replicas(self) -> int:
        """How many replicas take batches now."""
