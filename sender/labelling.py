"""What the networks make of a frame, in the thread that asks: the people in it, their labels, and blobs about them.

The sender's pipeline spreads these steps over threads and sends what comes of them; the library calls one after the
other.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import NamedTuple, Protocol, Self

from common.blobs import Blob
from common.frames import LabelFrame, PersonLabels
from common.io.logs import RepeatedLines
from common.text import printable
from common.weights.devices import resolve_device
from common.weights.graph_cache import GRAPHS
from sender.capture.source import CapturedFrame
from sender.config import SenderConfig
from sender.face.face_reader import FaceStage
from sender.hands.hands_reader import HandsStage
from sender.lookahead import Perceived
from sender.metrics import SenderMetrics
from sender.people.view import PeopleView, PersonView, Reader, ReadingSchedule
from sender.perception.crop import FrameClock
from sender.perception.perception_stage import PerceptionStage
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.semantics_stage import SemanticsStage

logger = logging.getLogger(__name__)

_MOST_REASON = 200


class BlobStage(Protocol):
    """Turns the people of each frame into blobs, or shows them to the user and returns none."""

    @property
    def timed_as(self) -> str | None:
        """The stage of `SenderMetrics` that its time belongs to; None if it measures its time itself."""

    def update(self, perceived: Perceived, people: Sequence[PersonLabels]) -> list[Blob]:
        """Takes a frame and returns the blobs that are due.

        Args:
            people: the labels of those who are observed, in the same order.
        """


class Networks(NamedTuple):
    """What labels people.

    Args:
        expression: readers of hands, which take the time of several frames, and of faces.
    """

    perception: PerceptionStage
    semantics: SemanticsStage
    expression: Sequence[Reader] = ()

    @classmethod
    def load(cls, config: SenderConfig, *, cameras: int = 0) -> Self:
        """With the shipped weights.

        Args:
            cameras: as for `PerceptionStage.load`.

        Raises:
            UsageError: this machine lacks the GPU of `--device`.
            WeightsError: trained weights are missing, damaged or of another version.
        """
        device = resolve_device(config.device.device)
        perception, reads = PerceptionStage.load(config.tracking, device, cameras=cameras), config.expression.expression
        charts = config.appearance.face_picture
        return cls(
            perception,
            SemanticsStage.load(config.smoothing, device),
            [
                each
                for each in (
                    HandsStage.load(),
                    FaceStage.load(perception.face_reader, lays_charts=charts),
                )
                if each
            ]
            if reads
            else (),
        )

    def anew(self, config: SenderConfig, *, cameras: int = 0) -> Self:
        """The same networks for another source, whose people are others; arguments as of `load`."""
        reads = config.expression.expression
        return type(self)(
            self.perception.anew(config.tracking, cameras=cameras),
            self.semantics.anew(config.smoothing),
            self.expression if reads else (),
        )


class Labelling:
    """Perceives, labels and describes the people of one session's frames, each step of them in order.

    Whatever fails at a frame, the frame goes on without it: without the labels of a reader, the blobs of a stage, or,
    where perception or semantics fail, without people.  The log says it once a minute, a counter each time.

    Args:
        stages: make blobs of each frame, in this order.
        stills: every frame is a picture of its own.
    """

    def __init__(
        self, networks: Networks, stages: Sequence[BlobStage], metrics: SenderMetrics, *, stills: bool = False
    ) -> None:
        self._networks, self._stages, self._metrics, self._stills = networks, stages, metrics, stills
        self._last_source, self._clock = "", FrameClock()
        self._known: Sequence[TrackedPerson] = ()
        self._schedule = ReadingSchedule()
        # Of the frames after the last one that was labelled.
        self._observed = 0
        self._failures = RepeatedLines(logger)

    def perceive(self, frame: CapturedFrame) -> Perceived:
        """Finds the people of a frame; tracking starts again when the source changes."""
        begins = self._stills or frame.source != self._last_source
        self._last_source = frame.source
        perception, semantics = self._networks[:2]
        if begins:
            perception.reset(still=self._stills)
            self._clock = FrameClock()
        step_s, known = self._clock.tick(frame.media_time_s), self._known
        observed: Sequence[ObservedPerson] = ()
        with self._without("perception"), self._metrics.stage("perception"):
            # Views that take turns need the means that smoothing makes of them.
            turns = semantics.smooths
            observed = perception.process(
                frame.image, frame.camera, frame.media_time_s, take_turns=turns, is_late=frame.is_late
            )
        self._known = perception.known
        forgotten = [person for person in known if person not in self._known]
        return Perceived(frame, observed, begins, self._clock.now_s, step_s, self._known, forgotten)

    def label(self, perceived: Perceived, later: Sequence[Perceived] = ()) -> LabelFrame:
        """The labels of one frame, which may have no people.

        Args:
            later: the frames of its source that are perceived already.
        """
        frame, observed = perceived.frame, perceived.observed
        _, semantics, expression = self._networks
        if perceived.begins:
            self._observed = 0
        self._schedule.begin(perceived.now_s)
        read: Sequence[PersonView] | None = None
        with self._metrics.stage("semantics"):
            with self._without("semantics"):
                self._observe((perceived, *later))
                read = semantics.label_observed(observed, frame.camera, frame.media_time_s, perceived.step_s)
            if read is None:
                # What it knows of this frame would be taken for the next one's.
                read, self._observed = (), 0
                semantics.forget()
            view = PeopleView(frame.image, frame.camera, read, self._schedule, perceived.step_s, self._stills)
        with self._metrics.stage("expression") if expression else nullcontext():
            for reader in expression:
                with self._without(reader.part):
                    reader.label(view)
        people = tuple(person.finished for person in read)
        self._metrics.frame_offered(people)
        return LabelFrame(frame.sequence, frame.source, frame.captured_at, frame.camera, people)

    def _observe(self, known: Sequence[Perceived]) -> None:
        """Tells semantics of the frame that is labelled and of later ones, as far as it has not observed them yet."""
        fresh, self._observed = known[self._observed :], len(known) - 1
        for each in fresh:
            self._networks.semantics.observe(each.observed, each.frame.camera, each.frame.media_time_s)

    def blobs(self, perceived: Perceived, labels: LabelFrame) -> list[Blob]:
        """The blobs that are due with one frame."""
        blobs: list[Blob] = []
        if not labels.people:
            # Where semantics has failed, nobody who was observed has labels.
            perceived = replace(perceived, observed=())
        for stage in self._stages:
            timed = nullcontext() if stage.timed_as is None else self._metrics.stage(stage.timed_as)
            with self._without(stage.timed_as or "channel"), timed:
                blobs += stage.update(perceived, labels.people)
        # All that the first frame needs has been used.
        GRAPHS.note_start()
        return blobs

    @contextmanager
    def _without(self, part: str) -> Iterator[None]:
        """Goes on where a part fails."""
        try:
            yield
        # A live session outlasts whatever a network or a library raises.
        except Exception as error:
            self._metrics.part_failed(part)
            reason = printable(f"{type(error).__name__}: {error}", _MOST_REASON)
            text = f"{part} failed at a frame, which goes on without: {reason}; please report it"
            self._failures.write(logging.WARNING, part, text)
            logger.debug("%s failed", part, exc_info=True)
