"""A pool without Ray: batches wait until the test lets a replica answer, or lose them."""

import asyncio
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.engine.engine import ReconstructionResult
from receiver.engine.pool import BatchDone, PersonWork, PoolFacts, ReplicaLost
from tests.support.receiver.fake_reconstructor import SKELETON, TETRAHEDRON, tetrahedron_of


@dataclass
class FakeReference:
    """Refers to a copy of an object, as another process would get it; counts how often it is fetched."""

    value: object
    name: str = "0"
    fetched: int = 0

    def hex(self) -> str:
        return self.name

    def __await__(self) -> Any:
        self.fetched += 1
        yield from asyncio.sleep(0).__await__()
        return pickle.loads(pickle.dumps(self.value))


@dataclass(eq=False)
class FakeBatch:
    """A batch that a replica has in hand."""

    work: Sequence[PersonWork]
    answer: "asyncio.Future[BatchDone]"

    @property
    def sources(self) -> list[str]:
        """The source of each person's frame."""
        return [work.request.frame.source for work in self.work]

    def finish(self, busy_s: float = 0.1) -> None:
        """Every person is a tetrahedron."""
        people = (
            ReconstructionResult((tetrahedron_of(work.request.frame.people[0]),), {"surface": 1.0})
            for work in self.work
        )
        self.finish_with(*people, busy_s=busy_s)

    def finish_with(self, *outcomes: ReconstructionResult | Exception, busy_s: float = 0.1) -> None:
        if not self.answer.done():
            self.answer.set_result(BatchDone(outcomes, {"decode": 1.0, "body": 1.0}, busy_s))

    def fail(self, error: Exception | None = None) -> None:
        """The replica ends, or the batch fails otherwise."""
        self.answer.set_exception(error or ReplicaLost("killed"))


@dataclass
class FakePool:
    """`Pool` for tests of the engine; the test sets `running`."""

    running: int = 1
    most_replicas: int = 1
    batches: list[FakeBatch] = field(default_factory=list)
    shared: list[FakeReference] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    @property
    def facts(self) -> PoolFacts:
        return PoolFacts("test", SKELETON, TETRAHEDRON.faces)

    def share(self, value: object) -> FakeReference:
        self.shared.append(FakeReference(value, str(len(self.shared))))
        return self.shared[-1]

    async def reconstruct(self, batch: Sequence[PersonWork]) -> BatchDone:
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append(FakeBatch(batch, asyncio.get_running_loop().create_future()))
        return await self.batches[-1].answer

    async def replicas(self) -> int:
        return self.running
