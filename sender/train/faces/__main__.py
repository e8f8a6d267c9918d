"""Trains the network that reads facial actions from landmarks (`sender.face.actions`).

Heads of many shapes, views and expressions are rendered, and the face networks run on them.  Real faces differ from
each other more than the body's: what the actions do not explain of the landmarks of photographed people is added to
those of rendered heads, all of it (somebody new) or a part (somebody whose neutral face is known).  Actions that are
guessed hardly better than by zero on other rendered heads are not read.

Examples:
  python -m sender.train.faces --curves data/faces --people data/people --export
"""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS, MIRRORED_ACTIONS
from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.synthetic.motion.faces import recorded_faces
from common.training.flags import add_export_flags
from common.training.run import write_json
from common.weights.loader import architecture_of, save_weights
from common.weights.quantisation import dequantised, quantised
from sender.face.actions import KIND, WEIGHTS_NAME, FaceActions, FaceActionsConfig
from sender.face.alignment import FEATURES, Alignment
from sender.face.landmarks import POINTS, FaceLandmarks, FaceReader
from sender.train.faces.correspondence import find, movable
from sender.train.faces.heads import Heads
from sender.train.faces.people import judged_faces, read_faces
from sender.train.faces.samples import HeadSamples, render_samples

_HEADS, _TEST_HEADS = 6000, 600
_FACE_PX, _TEST_FACE_PX, _SHARP_FACE_PX = (36.0, 99.0), (59.0, 61.0), (95.0, 99.0)
_CURVES, _TEST_CURVES = ("alex_rom_3.csv", "sentien_recording.csv"), ("alex_rom_4.csv",)
_LEAST_EYES_PX = 14.0
# Errors of places that the network marks, metres: those of points that move weigh less in the alignment.
_RIGID_M = 0.003
# Of the features in the principal components: depth is guessed, eyes are small.
_DEPTH, _EYES = 0.5, 3.0
_STEPS, _BATCH, _RATE, _DECAY = 3000, 128, 2e-3, 1e-3
_UNKNOWN, _MOST_KNOWN = 0.35, 0.5
"""Share of somebody new among the faces of a batch, and the largest part of what is unexplained in the others."""
_NEUTRAL = 0.4
"""Share of a batch that does nothing, as most faces do at most times."""
_LEAST_GAIN = 0.2
"""Share of an action's squared activations that reading it must explain, of somebody new."""
_UNREAD = ("eyeLookUp", "eyeLookDown")
"""Of photographed people who look into the camera, their mean is 0.2."""


@dataclass(frozen=True, slots=True)
class Faces:
    """N aligned faces: features (N, F) and rotations (N, 3, 3)."""

    features: FloatArray
    rotation: FloatArray

    @classmethod
    def align(cls, alignment: Alignment, faces: list[FaceLandmarks]) -> "Faces":
        aligned = [alignment.align(face) for face in faces]
        return cls(np.stack([one.features for one in aligned]), np.stack([one.rotation for one in aligned]))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.faces", __doc__)
    parser.add_argument("--curves", type=Path, required=True, help="folder of recorded facial actions")
    parser.add_argument("--people", type=Path, required=True, help="folder of photographs of people")
    parser.add_argument("--out", type=Path, default=Path("runs/faces"), help="folder of heads and scores (%(default)s)")
    add_export_flags(parser, "also write the weights and their scores")
    return parser.parse_args(arguments)


def rendered(
    path: Path,
    heads: Heads,
    reader: FaceReader,
    count: int,
    curves: FloatArray,
    seed: int,
    face_px: tuple[float, float],
    *,
    hard: bool = False,
) -> HeadSamples:
    """Samples of a file, which is written where there is none."""
    if not path.exists():
        drawn = render_samples(heads, reader, np.random.default_rng(seed), count, curves, face_px, hard=hard)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{each.name: getattr(drawn, each.name) for each in fields(drawn)})
    with np.load(path) as stored:
        return HeadSamples(*(stored[each.name] for each in fields(HeadSamples)))


def components(net: FaceActions, faces: Faces, others: Faces) -> None:
    """Sets mean and basis of the network: principal components of two sets of faces, of equal weight."""
    weight = np.ones(FEATURES)
    weight[2 : 3 * POINTS : 3], weight[3 * POINTS :] = _DEPTH, _EYES
    both = [(each.features - each.features.mean(axis=0)) / len(each.features) ** 0.5 for each in (faces, others)]
    basis = np.linalg.svd(np.concatenate(both) * weight, full_matrices=False)[2][: net.config.components].T
    weighted = basis * weight[:, None]
    weighted /= (both[0] @ weighted * len(faces.features) ** 0.5).std(axis=0).mean()
    net.mean.copy_(torch.from_numpy(faces.features.mean(axis=0)))
    net.basis.copy_(torch.from_numpy(weighted))


def linear_effects(z: FloatArray, activations: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(A, K) what actions do to components (N, K), and the covariance (K, K) of what they do not explain."""
    design = np.c_[activations, np.ones(len(activations))]
    effects = np.linalg.solve(design.T @ design + np.eye(design.shape[1]), design.T @ z)
    return effects[:-1], np.cov((z - design @ effects).T)


def unexplained(z: FloatArray, effects: FloatArray, covariance: FloatArray, spread: FloatArray) -> FloatArray:
    """(N, K) of real faces: what no activations between 0 and 1 explain.

    The activations are the most probable ones where what is unexplained is normal; its mean and covariance are those of
    the last round.

    Args:
        spread: (A,) root mean square activations.
    """
    neutral = z.mean(axis=0)
    for _ in range(3):
        root = np.linalg.cholesky(np.linalg.inv(covariance + 1e-3 * np.eye(len(covariance))))
        matrix = np.r_[(effects @ root).T, np.diag(0.15 / spread)]
        zeros = np.zeros(len(spread))
        found = np.stack([lsq_linear(matrix, np.r_[(row - neutral) @ root, zeros], (0, 1)).x for row in z])
        rest = np.asarray(z - found @ effects, np.float32)
        neutral, covariance = rest.mean(axis=0), np.asarray(np.cov(rest.T), np.float32)
    return rest


def fit(net: FaceActions, z: Tensor, rotation: Tensor, activations: Tensor, identities: Tensor) -> None:
    """Trains the layers on components (N, K); identities (M, K) have mean zero."""
    optimiser = torch.optim.AdamW(net.layers.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    still = torch.nonzero(activations.amax(dim=1) == 0)[:, 0]
    for _ in range(_STEPS):
        rows = torch.randint(len(z), (_BATCH,))
        rests = torch.rand(_BATCH) < _NEUTRAL
        rows[rests] = still[torch.randint(len(still), (int(rests.sum()),))]
        part = torch.where(torch.rand(_BATCH) < _UNKNOWN, torch.ones(_BATCH), _MOST_KNOWN * torch.rand(_BATCH))
        guess = net(z[rows] + part[:, None] * strangers(identities, _BATCH), rotation[rows])
        loss = (guess - activations[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def strangers(identities: Tensor, count: int) -> Tensor:
    """(count, K) new faces, of the covariance of the known ones: mixtures of two."""
    angle = 2 * torch.pi * torch.rand(count, 1)
    one, other = (identities[torch.randint(len(identities), (count,))] for _ in range(2))
    return angle.cos() * one + angle.sin() * other


@torch.no_grad()
def gains(net: FaceActions, z: Tensor, rotation: Tensor, activations: Tensor) -> Tensor:
    """(A,) share of the squared activations that the guesses explain, the mean of both sides; 0 if there are none."""
    errors = (net(z, rotation).clamp(0, 1) - activations).square().sum(dim=0)
    size = activations.square().sum(dim=0)
    gain = torch.where(size > 0, 1 - errors / size.clamp_min(1e-6), 0.0)
    return (gain + gain[MIRRORED_ACTIONS]) / 2


def correlations(guess: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Of mouth, lids, smile and sideways gaze: correlation of guessed and true activations (N, A)."""

    def of(values: FloatArray, **shares: float) -> FloatArray:
        return np.asarray(sum(share * values[:, FACIAL_ACTIONS.index(name)] for name, share in shares.items()))

    measured = {
        "jaw_open": {"jawOpen": 1.0},
        "blink": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
        "smile": {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5},
        "gaze_aside": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0, "eyeLookInLeft": -1.0, "eyeLookOutRight": -1.0},
    }
    return {
        name: round(float(np.corrcoef(of(guess, **shares), of(truth, **shares))[0, 1]), 3)
        for name, shares in measured.items()
    }


def landmarks_of(samples: HeadSamples) -> list[FaceLandmarks]:
    columns = (samples.points, samples.lids, samples.iris, samples.score)
    return [FaceLandmarks(*row) for row in zip(*columns, strict=True)]


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    torch.manual_seed(0)
    heads, reader = Heads(), FaceReader.load()
    if reader is None:
        raise SystemExit("MediaPipe's networks are missing: install Bodywire again")
    curves, others = (recorded_faces([options.curves / name for name in names]) for names in (_CURVES, _TEST_CURVES))
    samples = rendered(options.out / "train.npz", heads, reader, _HEADS, curves, 11, _FACE_PX, hard=True)
    test = rendered(options.out / "test.npz", heads, reader, _TEST_HEADS, others, 102, _TEST_FACE_PX)
    sharp = rendered(options.out / "sharp.npz", heads, reader, _TEST_HEADS, others, 201, _SHARP_FACE_PX)
    places = find(heads, sharp)
    net = FaceActions(FaceActionsConfig())
    template = places.on(heads.rest)
    net.template.copy_(torch.from_numpy(template - template.mean(axis=0)))
    errors_m, moved_m = np.median(places.errors_m, axis=0), movable(heads, places)
    net.weights.copy_(torch.from_numpy(_RIGID_M**2 / (_RIGID_M**2 + moved_m**2 + errors_m**2)))
    alignment = net.alignment()
    judged = judged_faces()
    people = [face for key, face in read_faces(options.people, reader, _LEAST_EYES_PX) if key not in judged]
    faces, tested, real = (Faces.align(alignment, each) for each in (landmarks_of(samples), landmarks_of(test), people))
    components(net, faces, real)
    z, z_test, z_real = (net.components(torch.from_numpy(each.features)) for each in (faces, tested, real))
    effects, covariance = linear_effects(z.numpy(), samples.activations)
    spread = np.sqrt(np.square(samples.activations).mean(axis=0) + 1e-3)
    rest = torch.from_numpy(unexplained(z_real.numpy(), effects, covariance, spread))
    net.effects.copy_(torch.from_numpy(effects))
    net.neutral.copy_(rest.mean(dim=0))
    identities = rest - rest.mean(dim=0)
    rotation, rotation_test = torch.from_numpy(faces.rotation), torch.from_numpy(tested.rotation)
    truth = torch.from_numpy(test.activations)
    fit(net, z, rotation, torch.from_numpy(samples.activations), identities)
    gain = gains(net, z_test + strangers(identities, len(z_test)), rotation_test, truth)
    readable = torch.tensor([not name.startswith(_UNREAD) for name in FACIAL_ACTIONS])
    net.read.copy_((readable & (gain > _LEAST_GAIN)).float())
    # As it is stored.
    net.load_state_dict(dequantised(quantised(net.state_dict())))
    alignment = net.alignment()
    tested = Faces.align(alignment, landmarks_of(test))
    z_test = net.components(torch.from_numpy(tested.features))
    with torch.no_grad():
        guess = net(z_test, torch.from_numpy(tested.rotation)).clamp(0, 1).numpy()
    scores = {
        "correlation_60px": correlations(guess, test.activations),
        "correspondence_median_mm": round(1e3 * float(np.median(places.errors_m)), 2),
        "read": int(net.read.sum()),
        "photographed_faces": len(people),
    }
    print(scores, {name: round(each, 2) for name, each in zip(FACIAL_ACTIONS, gain.tolist(), strict=True)})
    write_json(options.out / "scores.json", {"scores": scores})
    if options.export:
        recipe = {"command": "python -m sender.train.faces", "heads": _HEADS, "steps": _STEPS, "seed": 0}
        kind = {"kind": KIND, **architecture_of(net.config)}
        entry = save_weights(WEIGHTS_NAME, net.state_dict(), kind, recipe, scores, directory=options.weights)
        print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.faces", lambda: train(parse())))
