"""3D error over time on rendered clips of one moving person: `python -m tests.bench.moving [--live]`.

    clip ─ detector, tracking, perception ─┬─ semantics, frame after frame ── bodywire ── codec, motion ── received
                                           └─ semantics, each frame alone ─── per frame

`bodywire` is what the sender sends, `received` what the receiver shows of it, `feet free` that without holding the feet
that stand (`receiver.motion.legs`), and `exported` the animation that `receiver export` makes of `received`.  `lost`
is what the receiver shows in two thirds of a second in which the sender finds nobody, `held` the pose before.

Frames wait for later ones, as those of files do, or with `--live` for none; with `--late`, they are those of a camera
before a slow machine, whose perception reads every other one, and with `--fast` those of a file on one.

Perception sees each frame in one of its two views, by turns, as in the sender: only `bodywire` has means over them.

Errors are relative to the midpoint of the hips, in the camera's axes, but those of `measures.in_the_world`.
`acceleration_error_mm` is the mean error of the second difference of a keypoint's position in time.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import PersonLabels
from common.labels import concatenate
from common.motion.label_track import Continued
from common.motion.network import LearnedMotion
from common.weights.manifest import model_hash
from receiver.export.ground import grounded
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.posing import joint_transforms
from receiver.motion.session_motion import SessionMotion
from sender.capture.source import CapturedFrame
from sender.config import SmoothingConfig, TrackingConfig
from sender.importance import Importance
from sender.lookahead import Perceived, with_later
from sender.perception.perception_stage import PerceptionStage
from sender.perception.track import ObservedPerson
from sender.semantics.semantics_stage import SemanticsStage
from tests.bench import measures, report
from tests.bench.bytes.rates import CodecPair, as_frame, unconstrained_rho
from tests.bench.motion.moving_clips import CAMERA, FRAMES, MovingClip, MovingClipRenderer, decoded
from tests.bench.perceived import LabelJoints
from tests.support.motion.limbs_alone import LimbsAlone
from tests.support.motion.moving_character import character_of

CLIPS, QUICK_CLIPS = 30, 6
_JOINTS_OF = ("bodywire", "per frame", "feet free", "received")
# Frames of a clip in which somebody is lost.
_LOST = range(30, 50)
_FPS = 30.0


@dataclass(frozen=True, slots=True)
class Followed:
    """What a system says of one clip.

    Args:
        joints: (T, 17, 3) in the camera's axes, metres; NaN in frames without a person.
        truth: (T, 17, 3) likewise.
    """

    joints: Float64Array
    truth: Float64Array

    def figures(self) -> dict[str, float]:
        """Means over the frames with a person."""
        seen = np.isfinite(self.joints).all(axis=(1, 2))
        joints, truth = (np.stack([measures.centred(frame) for frame in each]) for each in (self.joints, self.truth))
        pairs = list(zip(joints[seen], truth[seen], strict=True))
        changes = measures.second_difference(joints) - measures.second_difference(truth)
        return {
            "seen": float(seen.mean()),
            "mpjpe_mm": measures.mean_distance_mm(joints[seen], truth[seen]),
            "pa_mpjpe_mm": float(
                np.mean([measures.mean_distance_mm(measures.procrustes(own, true), true) for own, true in pairs])
            ),
            "acceleration_error_mm": 1000 * float(np.nanmean(np.linalg.norm(changes, axis=-1))),
            **measures.in_the_world(self.joints, self.truth),
        }


class ExportedJoints:
    """The keypoints of the animations that `receiver export` makes. Raises WeightsError as `LabelJoints`."""

    def __init__(self) -> None:
        self._space, self._model = LabelSpace.load(), BodyModel.load()
        self._kinematics = KeypointKinematics(self._model)

    @torch.inference_mode()
    def __call__(self, people: Sequence[PersonLabels | None], fps: float, *, timely: bool) -> Float64Array:
        """(T, 17, 3) in the camera's axes, metres, of one person in T frames; NaN where the person is None.

        Args:
            timely: whether no filter has delayed the people's labels.
        """
        joints = np.full((len(people), 17, 3), np.nan)
        known = [index for index, person in enumerate(people) if person is not None]
        if not known:
            return joints
        rows = [concatenate(person.labels) for person in people if person is not None]
        bodies = self._space.decode(torch.from_numpy(np.stack(rows)))
        shape = bodies.shape.median(dim=0).values.expand_as(bodies.shape)
        nearer = self._size_m(shape) / self._size_m(bodies.shape)
        character = character_of(replace(bodies, shape=shape, translation=bodies.translation * nearer), fps)
        motion = replace(character.motion, times_s=np.array(known) / fps)
        (placed,), placement = grounded([replace(character, motion=motion, timely=timely)])
        turn, position = placement.rotation, placement.position
        parents = placed.skeleton.parents.tolist()
        turns, _ = joint_transforms(placed.motion.rotations, parents, placed.offsets)
        roots = (placed.motion.root_positions - position) @ turn * Y_UP
        in_camera = (turn.T @ turns) * Y_UP[:, None] * Y_UP
        found = self._kinematics.keypoints(
            shape, torch.from_numpy(roots[:, None]).float(), torch.from_numpy(in_camera).float()
        )
        joints[known] = found.numpy()
        return joints

    def _size_m(self, shape: torch.Tensor) -> torch.Tensor:
        """(T, 1) the length of all bones."""
        rest = self._model.rest_joints_of(shape)
        lengths: torch.Tensor = torch.linalg.norm(rest[:, 1:] - rest[:, self._model.parents[1:]], dim=2)
        return lengths.sum(dim=1, keepdim=True)


class MovingSender:
    """Perception and semantics in process.

    Args:
        live: whether frames wait for no later ones.
        late: whether the first one that is live was late.
        fast: whether frames that are not live are read as on a slow machine.
        loses: whether `lost` and `held` are among the systems.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, *, live: bool = False, late: bool = False, fast: bool = False, loses: bool = False) -> None:
        self._live, self._late, self._loses = live, late, loses
        tracking = TrackingConfig(max_people=1, quality="fast" if fast else "full")
        self._perception = PerceptionStage.load(tracking, cameras=int(live))
        followed, alone = (SemanticsStage.load(SmoothingConfig(strength)) for strength in (1.0, 0.0))
        self._semantics = {"bodywire": followed, "per frame": alone}
        self._joints, self._exported = LabelJoints(), ExportedJoints()
        self._importance = Importance.load()
        self._continued = Continued(LearnedMotion.load() if loses else None)

    def follow(self, clip: MovingClip) -> dict[str, Followed]:
        """What each system says of a clip."""
        self._perception.reset()
        pair, motion, feet_free = CodecPair(model_hash()), SessionMotion(), LimbsAlone()
        loses, held = SessionMotion(continued=self._continued), list[PersonLabels]()
        systems = (*_JOINTS_OF, "lost", "held") if self._loses else _JOINTS_OF
        joints: dict[str, list[Float64Array]] = {name: [] for name in systems}
        received: list[PersonLabels | None] = []
        for index, (observed, followed) in enumerate(self._perceived(clip)):
            alone = self._semantics["per frame"].anew(SmoothingConfig(0.0)).label(observed, CAMERA, index / _FPS)
            found: dict[str, Sequence[PersonLabels]] = {"bodywire": followed, "per frame": alone}
            for person in found["bodywire"]:
                rho = unconstrained_rho(self._importance, person)
                passed = pair.send(as_frame(person, index, CAMERA), rho)
                found["feet free"] = feet_free.complete(passed.frame).people
                found["received"] = motion.complete(passed.frame).people
                lost = index in _LOST
                shown = loses.complete(replace(passed.frame, people=()) if lost else passed.frame).people
                held = held if lost else list(shown)
                found |= {"lost": shown, "held": held} if lost else {}
            received.append(next(iter(found.get("received", ())), None))
            for name in joints:
                people = found.get(name)
                joints[name].append(self._joints(people[0]).astype(np.float64) if people else np.full((17, 3), np.nan))
        stacked = {name: np.stack(rows) for name, rows in joints.items()}
        stacked["exported"] = self._exported(received, _FPS, timely=not self._live)
        truth = clip.joints_3d.astype(np.float64)
        return {name: Followed(rows, truth) for name, rows in stacked.items()}

    def _perceived(self, clip: MovingClip) -> Iterator[tuple[Sequence[ObservedPerson], Sequence[PersonLabels]]]:
        """Yields the people in each frame, and their labels by the frames around it."""
        semantics = self._semantics["bodywire"]

        def perceive(frame: CapturedFrame) -> Perceived:
            observed = self._perception.process(frame.image, CAMERA, frame.media_time_s, is_late=self._late)
            semantics.observe(observed, CAMERA, frame.media_time_s)
            return Perceived(frame, observed, frame.sequence == 0)

        images = enumerate(decoded(clip.encoded))
        frames = (CapturedFrame(index, clip.motion, 0.0, index / _FPS, image, CAMERA) for index, image in images)
        for perceived, _ in with_later(frames, perceive, semantics.wait(not self._live)):
            observed = perceived.observed
            read = semantics.label_observed(observed, CAMERA, perceived.frame.media_time_s)
            yield observed, [person.finished for person in read]


def summary(clips: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over clips of equal length, and the standard error of MPJPE."""
    mpjpe = np.array([clip["mpjpe_mm"] for clip in clips])
    return {**measures.mean_by_key(list(clips)), "mpjpe_mm_standard_error": measures.standard_error(mpjpe)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("moving", __doc__, 7)
    parser.add_argument("--live", action="store_true", help="frames wait for no later ones")
    parser.add_argument("--late", action="store_true", help="and every other one is propagated from the one before")
    parser.add_argument("--fast", action="store_true", help="read files as on a slow machine")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    sender = MovingSender(live=options.live or options.late, late=options.late, fast=options.fast, loses=True)
    renderer = MovingClipRenderer()
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(QUICK_CLIPS if options.quick else CLIPS):
        clip = renderer.clip(options.seed, number)
        for name, followed in sender.follow(clip).items():
            found.setdefault(name, []).append(followed.figures())
        report.progress(f"clip {number} ({clip.motion}): {found['bodywire'][-1]['mpjpe_mm']:.0f} mm")
    systems = {name: summary(figures) for name, figures in sorted(found.items())}
    report.publish(options, systems, f"{FRAMES} frames a clip, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
