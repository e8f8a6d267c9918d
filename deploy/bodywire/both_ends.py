"""The stages of both daemons in one process.

frame ─ perception ─ semantics, clothes, face, hands ─ [ codec ] ─ motion ─ [ engine: decode … surface ] ─ people
                                   └──── blobs: colours, what people wear ─────┘
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from bodywire.people import People, Person
from common.body.anatomy import FACIAL_ACTIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import LabelFrame
from common.weights.devices import CPU, resolve_device
from common.weights.threads import one_thread
from receiver.engine.engine import PersonAppearance, ReconstructedPerson, ReconstructionRequest, ReconstructionResult
from receiver.engine.reconstructor import LocalEngine, Reconstructor
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import Skeleton
from receiver.motion.session_motion import SessionMotion
from receiver.publish.frame_record import PersonRecord
from receiver.received_people import ReceivedPeople
from sender.attributes.kind_reader import KindReader, KindStage
from sender.capture.source import CapturedFrame
from sender.config import SenderConfig
from sender.labelling import BlobStage, Labelling, Networks
from sender.lookahead import Perceived, with_later
from sender.metrics import SenderMetrics
from sender.perception.track import ObservedPerson
from sender.texture.texture_stage import TextureStage

T = TypeVar("T")


class Loaded:
    """The networks of both ends, which all sessions of a process share, and the event loop of the engine.

    Raises:
        WeightsError: weights are missing, damaged or of another version.
    """

    def __init__(self) -> None:
        config = SenderConfig()
        device = resolve_device(config.device.device)
        # What both ends need, so that each finds it there.
        LabelSpace.load(), BodyModel.load()
        # OpenVINO takes most of the time, and leaves the interpreter to the other thread.
        with ThreadPoolExecutor(1) as other:
            networks = other.submit(Networks.load, config)
            if device != CPU:
                networks.result()  # a GPU captures one network at a time
            self.engine = LocalEngine(Reconstructor.load(device=device))
            self.networks = networks.result()
            KindReader.load(device)
        self.sessions = itertools.count()
        self._loop = asyncio.new_event_loop()
        # Of its own: the caller may be in a thread that has one, as that of a notebook has.
        threading.Thread(target=self._loop.run_forever, name="engine", daemon=True).start()

    def session(
        self,
        config: SenderConfig,
        *,
        stills: bool,
        brief: bool = False,
        live: bool = False,
        between: Callable[[LabelFrame], LabelFrame] = lambda labels: labels,
    ) -> "BothEnds":
        """A session of a source with the sender's options (`between`: as of `BothEnds`)."""
        networks = self.networks.anew(config, cameras=int(live))
        textures = TextureStage(LabelSpace.load(), BodyModel.load(), stills=stills, brief=brief)
        wears = KindStage.load(resolve_device(config.device.device), stills=stills, brief=brief)
        return BothEnds(self, networks, (textures, wears), stills=stills, between=between)

    def close(self) -> None:
        """Finishes what is in the engine."""
        self.run(self.engine.close())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, or raises, in the loop of the engine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@dataclass(frozen=True)
class Rebuilt:
    """One frame at both ends.

    Args:
        labels: as the engine got them.
        people: as the receiver rebuilt them from these.
        records: what is published of each.
    """

    observed: Sequence[ObservedPerson]
    labels: LabelFrame
    people: Sequence[ReconstructedPerson]
    records: Sequence[PersonRecord]


class BothEnds:
    """One session: what its frames' people are, and what is remembered of them.

    Args:
        stages: make blobs of the people.
        stills: every frame is a picture of its own.
        between: what becomes of labels on their way, by default nothing.
    """

    def __init__(
        self,
        loaded: Loaded,
        networks: Networks,
        stages: Sequence[BlobStage],
        *,
        stills: bool = False,
        between: Callable[[LabelFrame], LabelFrame] = lambda labels: labels,
    ) -> None:
        self._loaded, self._stills, self._between = loaded, stills, between
        self._networks = networks
        self._labelling = Labelling(networks, stages, SenderMetrics(), stills=stills)
        self._session = next(loaded.sessions)
        self._motion = SessionMotion()
        self._received = ReceivedPeople()

    def people(self, frames: Iterable[CapturedFrame], *, waits: bool = False) -> Iterator[People]:
        """Yields the people of each frame of a session.

        Args:
            waits: whether frames wait for later ones, by which their people are estimated better.
        """
        later_s, skeleton = self._networks.semantics.wait(waits), self._loaded.engine.skeleton
        for perceived, later in with_later(frames, self._perceive, later_s):
            with one_thread():
                rebuilt = self._rebuild(perceived, later)
            pairs = zip(rebuilt.people, rebuilt.records, strict=True)
            people, frame = tuple(_person(*each, skeleton) for each in pairs), perceived.frame
            yield People(people, frame.source, frame.media_time_s, frame.camera)

    def rebuild(self, frame: CapturedFrame) -> Rebuilt:
        """Passes one frame, which waits for no later one, through all stages."""
        return self._rebuild(self._labelling.perceive(frame), ())

    def _perceive(self, frame: CapturedFrame) -> Perceived:
        with one_thread():
            return self._labelling.perceive(frame)

    def _rebuild(self, perceived: Perceived, later: Sequence[Perceived]) -> Rebuilt:
        labels = self._labelling.label(perceived, later)
        for blob in self._labelling.blobs(perceived, labels):
            self._received.handlers[blob.kind](blob)
        labels = self._motion.complete(self._between(labels))
        self._received.begin(labels)
        appearance = self._received.appearance(labels, live=False)
        result = self._loaded.run(self._reconstruct(labels, appearance))
        skeleton = self._loaded.engine.skeleton
        records = [
            PersonRecord.of(person, appearance[person.labels.identity].wears, skeleton) for person in result.people
        ]
        return Rebuilt(perceived.observed, labels, result.people, records)

    async def _reconstruct(
        self, labels: LabelFrame, appearance: Mapping[int, PersonAppearance]
    ) -> ReconstructionResult:
        request = ReconstructionRequest("library", self._session, labels, appearance, still=self._stills)
        return await self._loaded.engine.reconstruct(request)


def _person(person: ReconstructedPerson, record: PersonRecord, skeleton: Skeleton) -> Person:
    face, scale = record.activations, record.scale
    return Person(
        record.identity,
        record.score,
        record.keypoints_2d,
        to_y_up(record.joints_3d),
        record.wears.likeliest() if record.wears else {},
        None if face is None else dict(zip(FACIAL_ACTIONS, face.tolist(), strict=True)),
        record.fingers,
        frozenset(record.unseen_limbs),
        scale.height_m if scale else float("nan"),
        scale.height_sigma_m if scale else float("nan"),
        person,
        skeleton,
    )
