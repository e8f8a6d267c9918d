"""Pictures for the people who watch the receiver: `--share-preview` and `--share-picture`."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import FloatArray, Image
from common.blobs import PICTURE, PREVIEW, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.frames import PersonLabels
from common.picture_codec.key_picture import KeyPicture, encode
from common.picture_codec.weights import load_codecs
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson

LONGEST_SIDE_PX = 160
MAX_JPEG_BYTES = 3000
BYTES_PER_S = 4000.0
_PREVIEW_INTERVAL_S = 0.5
# Tried in this order until the picture is small enough; noise may be too large at all of them.
_QUALITIES = (55, 40, 25, 10)
SIDE_PX = 192
"""Pixels along a side of a picture; a smaller crop is sent as it is."""
_MIN_SIDE_PX = 64
_MIN_SCORE = 0.5
# A person who was just found may be none, or be another one in the next frame.
_STEADY_FRAMES = 15
# Root mean square difference of the `appearance` labels, in standard deviations, between two ways to be dressed.
_OTHER_CLOTHES = 0.7
_MIN_INTERVAL_S = 10.0
# Longer than the tracker keeps the identity of a lost person.
_FORGET_AFTER_FRAMES = 300


class SharedPreview:
    """Makes a picture as often as a budget of bytes a second permits."""

    timed_as = "preview"

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._due_s = -float("inf")

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """The frame as a JPEG of at most `MAX_JPEG_BYTES`; none while none is due."""
        now_s = self._clock.monotonic()
        if now_s < self._due_s:
            return []
        jpeg = small_jpeg(frame.image)
        self._due_s = now_s + max(_PREVIEW_INTERVAL_S, (len(jpeg) if jpeg else 0) / BYTES_PER_S)
        return [Blob(PREVIEW, 0, jpeg)] if jpeg else []

    def reset(self) -> None:
        """The budget of bytes is that of the session."""


def small_jpeg(image: Image) -> bytes | None:
    """A frame (H, W, 3) uint8 RGB scaled down to `LONGEST_SIDE_PX`; None if no quality makes it small enough."""
    height, width = image.shape[:2]
    scale = min(LONGEST_SIDE_PX / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    for quality in _QUALITIES:
        encoded, jpeg = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, quality))
        if encoded and len(jpeg) <= MAX_JPEG_BYTES:
            return np.asarray(jpeg, np.uint8).tobytes()
    return None


@dataclass(slots=True)
class _Person:
    """What was seen of a person.

    Args:
        seen_at: number of the last frame.
        steady: frames in a row in which a picture was due.
        appearance: labels at the picture sent last; None before the first.
    """

    seen_at: int
    steady: int = 0
    appearance: FloatArray | None = None
    sent_s: float = 0.0


class SharedPictures:
    """Makes a picture of every person, and another when their clothes have changed.

    Raises:
        WeightsError: the weights of the picture codec are missing or damaged.
    """

    timed_as = "preview"

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        # Here, because it would delay a frame.
        load_codecs()
        self._clock = clock
        self._people: dict[int, _Person] = {}
        self._frame = 0

    def reset(self) -> None:
        self._people.clear()

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """The picture that is due, of one person at most, because encoding takes some ten milliseconds."""
        self._frame += 1
        self._people = {
            identity: person
            for identity, person in self._people.items()
            if self._frame - person.seen_at <= _FORGET_AFTER_FRAMES
        }
        for person, labels in zip(observed, people, strict=True):
            known = self._people.setdefault(person.identity, _Person(self._frame))
            known.seen_at = self._frame
            appearance = np.asarray(labels.labels["appearance"], np.float32)
            usable = person.score >= _MIN_SCORE and person.crop.side >= _MIN_SIDE_PX
            known.steady = known.steady + 1 if usable and self._is_due(known, appearance) else 0
            if known.steady >= _STEADY_FRAMES:
                known.appearance, known.sent_s, known.steady = appearance, self._clock.monotonic(), 0
                picture = KeyPicture(person.crop.cut(frame.image, min(person.crop.side, SIDE_PX)), frame.captured_at)
                return [Blob(PICTURE, person.identity, encode(picture))]
        return []

    def _is_due(self, person: _Person, appearance: FloatArray) -> bool:
        if person.appearance is None:
            return True
        difference = float(np.sqrt(np.square(appearance - person.appearance).mean()))
        return difference > _OTHER_CLOTHES and self._clock.monotonic() - person.sent_s >= _MIN_INTERVAL_S
