"""The clips that all systems carry, and the uncompressed labels that they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray, Image
from common.errors import SourceError
from common.frames import Camera, PersonLabels
from common.labels import concatenate
from common.synthetic.render_clip import FPS
from sender.capture.open import DEMO_CLIP
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson
from tests.bench.moving_clips import CAMERA, MovingClipRenderer, decoded
from tests.bench.perceived import FrameSender, demo_frames
from tests.bench.rivals.bodies import Bodies, Reference

DEMO = "demo"


@dataclass(frozen=True, eq=False)
class RivalClip:
    """A clip at 30 frames a second.

    Args:
        name: tells it from others.
        pictures: T frames (H, W, 3) RGB.
        truth: (T, 17, 3) true keypoints in camera space, metres.
    """

    name: str
    pictures: tuple[Image, ...]
    camera: Camera
    truth: FloatArray


def demo_clip(frames: int) -> RivalClip:
    """The demo clip's first frames.

    Raises:
        SourceError: it is missing or damaged.
    """
    captured = list(demo_frames(frames))
    try:
        with np.load(DEMO_CLIP.with_suffix(".truth.npz")) as truth:
            joints = np.asarray(truth["joints_3d"][: len(captured)], np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise SourceError(f"the truth of {DEMO_CLIP.name} is missing or damaged: reinstall bodywire") from error
    return RivalClip(DEMO, tuple(frame.image for frame in captured), captured[0].camera, joints)


def rendered_clip(renderer: MovingClipRenderer, seed: int, number: int) -> RivalClip:
    """A clip of the test split."""
    clip = renderer.clip(seed, number)
    return RivalClip(f"rendered {number}", tuple(decoded(clip.encoded)), CAMERA, clip.joints_3d)


def captured_frames(name: str, pictures: Sequence[Image], camera: Camera) -> list[CapturedFrame]:
    """Pictures as a source's frames; another name is another source."""
    return [
        CapturedFrame(index, name, index / FPS, index / FPS, picture, camera) for index, picture in enumerate(pictures)
    ]


@dataclass(frozen=True, eq=False)
class PerceivedClip:
    """A clip with what the sender perceives in its uncompressed frames; frames in which it finds nobody are left out.

    Args:
        clip: the clip, of T frames with a person.
        people: the labels of each frame.
        observed: what perception saw, and where.
        reference: the bodies of the labels.
    """

    clip: RivalClip
    people: tuple[PersonLabels, ...]
    observed: tuple[ObservedPerson, ...]
    reference: Reference

    @property
    def labels(self) -> FloatArray:
        """(T, LABEL_SIZE) of the people."""
        return self.reference.labels


def perceive(clip: RivalClip, sender: FrameSender, bodies: Bodies) -> PerceivedClip:
    """The labels of a clip's person.

    Raises:
        SourceError: nobody is found in the clip.
    """
    found = []
    for index, frame in enumerate(captured_frames(clip.name, clip.pictures, clip.camera)):
        observed = sender.observe(frame)
        if people := sender.label_observed(frame, observed).people:
            found.append((index, people[0], observed[0]))
    if not found:
        raise SourceError(f"nobody is found in the clip {clip.name}")
    kept, people, seen = zip(*found, strict=True)
    shorter = RivalClip(clip.name, tuple(clip.pictures[index] for index in kept), clip.camera, clip.truth[list(kept)])
    labels = np.stack([concatenate(person.labels) for person in people])
    return PerceivedClip(shorter, people, seen, Reference(bodies, labels, shorter.truth))
