"""One replica of a pool: the networks in a process of their own, without any state that a result depends on."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from common.version import package_version
from common.weights.devices import resolve_device
from common.weights.manifest import read_manifest
from common.weights.threads import limit_threads
from receiver.config import SurfaceConfig
from receiver.engine.engine import ReconstructionRequest, ReconstructionResult
from receiver.engine.pool import BatchDone, PersonWork, PoolFacts, Reference
from receiver.engine.reconstructor import InferredFrame, Reconstructor, infer_each
from receiver.texture.received_texture import ReceivedTexture

# What is prepared from textures is cached by their identity.
_KEPT_TEXTURES = 64
# A batch takes seconds at most; a replica that is longer at one hangs, and is replaced.
_HANGS_S = 120.0


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """The options of the receiver that replicas need (`device`: `cpu` or `cuda`, where the replica runs)."""

    surface: SurfaceConfig
    device: str
    threads: int

    @property
    def build(self) -> str:
        """Versions, weights and options that results depend on."""
        networks = "".join(entry.sha256 for _, entry in sorted(read_manifest().items()))
        weights = hashlib.sha256(networks.encode()).hexdigest()[:16]
        return f"version {package_version()}, weights {weights}, {self.surface}"

    def load(self) -> Reconstructor:
        """The networks.

        Raises:
            WeightsError: they are missing or of another version.
            UsageError: the device is missing.
        """
        limit_threads()
        return Reconstructor.load(self.surface, resolve_device(self.device))


class Replica:
    """Reconstructs batches, two at a time: while the surfaces of one are built, the networks run on the other."""

    def __init__(
        self, settings: ReplicaSettings, load: Callable[[ReplicaSettings], Reconstructor] = ReplicaSettings.load
    ) -> None:
        self._reconstructor = load(settings)
        self._facts = PoolFacts(settings.build, self._reconstructor.skeleton, self._reconstructor.faces)
        self._networks = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._surfaces = ThreadPoolExecutor(settings.threads, thread_name_prefix="surface")
        self._textures: OrderedDict[str, ReceivedTexture] = OrderedDict()
        self._busy = BusyTime(time.monotonic)

    async def facts(self) -> PoolFacts:
        """What a receiver needs to know before it sends batches."""
        return self._facts

    def check_health(self) -> None:
        """Called by Serve at intervals; raises RuntimeError if a batch hangs."""
        if self._busy.longest_s > _HANGS_S:
            raise RuntimeError(f"a batch has taken more than {_HANGS_S:g} s")

    async def reconstruct(self, batch: Sequence[PersonWork]) -> BatchDone:
        """Reconstructs a batch; a person who cannot be reconstructed fails alone."""
        loop = asyncio.get_running_loop()
        with self._busy.batch():
            requests = [await self._request(work) for work in batch]
            stages_ms, inferred = await loop.run_in_executor(self._networks, infer_each, self._reconstructor, requests)
            outcomes = await asyncio.gather(
                *(loop.run_in_executor(self._surfaces, self._extract, person) for person in inferred)
            )
        return BatchDone(tuple(outcomes), stages_ms, self._busy.take_s())

    async def _request(self, work: PersonWork) -> ReconstructionRequest:
        if work.texture is None:
            return work.request
        ((identity, appearance),) = work.request.appearance.items()
        texture = await self._texture(work.texture)
        return replace(work.request, appearance={identity: replace(appearance, texture=texture)})

    async def _texture(self, reference: Reference) -> ReceivedTexture:
        """The texture that a reference refers to: the same object each time, as long as it is kept."""
        key = reference.hex()
        if key not in self._textures:
            fetched: ReceivedTexture = await reference
            self._textures.setdefault(key, fetched)
        self._textures.move_to_end(key)
        found = self._textures[key]
        while len(self._textures) > _KEPT_TEXTURES:
            self._textures.popitem(last=False)
        return found

    def _extract(self, person: InferredFrame | Exception) -> ReconstructionResult | Exception:
        if isinstance(person, Exception):
            return person
        try:
            return self._reconstructor.extract(person)
        except Exception as error:  # any error belongs to the person
            return error


class BusyTime:
    """How long a replica has had work: for how many seconds of `clock` at least one batch was in hand."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: dict[object, float] = {}
        self._counted_s = self._since_s = 0.0

    @property
    def longest_s(self) -> float:
        """How long the oldest batch in hand has taken so far."""
        return self._clock() - min(self._begun.values()) if self._begun else 0.0

    @contextmanager
    def batch(self) -> Iterator[None]:
        """A batch is in hand during the block."""
        key, now_s = object(), self._clock()
        if not self._begun:
            self._since_s = now_s
        self._begun[key] = now_s
        try:
            yield
        finally:
            self._count()
            del self._begun[key]

    def take_s(self) -> float:
        """The time that has not been taken yet."""
        if self._begun:
            self._count()
        taken_s, self._counted_s = self._counted_s, 0.0
        return taken_s

    def _count(self) -> None:
        now_s = self._clock()
        self._counted_s += now_s - self._since_s
        self._since_s = now_s
