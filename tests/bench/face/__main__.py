"""Faces: `python -m tests.bench.face`; `--people FOLDER` also on photographed faces, `--clips FOLDER` on clips, which a
person has judged.

    jaw_open, blink, smile, gaze_aside   correlation of given and true activations, rendered heads
    unexplained                          of the four: squared error over squared activations

    mouth, smile, lids   share of photographed faces that are judged alike: lips parted, smiling, eyes closed; beside it
                         that of the more frequent answer

    lips_shut, eyes_open   share of judged frames with jawOpen of at most 0.1 where lips touch, and of open eyes with
                           eyeBlink of at most 0.2
    jaw_parted             median jawOpen where lips are parted
    blinks_share           blinks that are found; false_a_minute those that are none
    jaw_follows            correlation of jawOpen with the lips' opening over the face's height, of all frames; in_clip
                           the median of clips in which lips move

Every head and face is somebody new: of the neutral face, only the mean of rendered or of photographed people is known.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS, SHAPE_SIZE
from sender.face.actions import FaceActions
from sender.face.face_reader import FaceMemory
from sender.face.landmarks import FaceLandmarks, FaceReader
from tests.bench import report
from tests.bench.face import clips
from tests.bench.face.people import judged_faces, read_faces
from tests.bench.face.rendered import draw_activations, read_head
from tests.support.pictures.rendered_heads import Heads

_LEAST_EYES_PX = 18.0
_PARTED = {"jawOpen": 1.0, "mouthClose": -1.0, "mouthLowerDownLeft": 0.5, "mouthUpperUpLeft": 0.5}
_SMILES = {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
_CLOSED = {"eyeBlinkLeft": 0.35, "eyeBlinkRight": 0.35}
_CORRELATED = {
    "jaw_open": {"jawOpen": 1.0},
    "blink": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    "smile": _SMILES,
    "gaze_aside": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0, "eyeLookInLeft": -1.0, "eyeLookOutRight": -1.0},
}
# Activation from which an answer is yes.
_YES = 0.3
_JUDGED = {
    "mouth": (_PARTED, {"closed": False, "parted": True, "open": True}),
    "smile": (_SMILES, {"no": False, "yes": True}),
    "lids": (_CLOSED, {"open": False, "closed": True, "down": True}),
}


@torch.inference_mode()
def activations_of(network: FaceActions, faces: list[FaceLandmarks], neutral: Tensor) -> FloatArray:
    """(N, 52) of somebody new each.

    Args:
        neutral: (K,) of all people.
    """
    alignment = network.alignment()
    rows = []
    for face in faces:
        memory = FaceMemory(neutral)
        memory.read(network, alignment.align(face), 0.0, is_still=True)
        rows.append(memory.activations)
    return np.stack(rows)


def rendered_faces(count: int, face_px: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Given and true activations (N, 52) of rendered heads."""
    reader = FaceReader.load()
    if reader is None:
        raise ValueError("MediaPipe's networks are missing")
    heads, rng, sizes = Heads(), np.random.default_rng(seed), np.log((face_px - 1, face_px + 1))
    true, faces = list[FloatArray](), list[FaceLandmarks]()
    while len(faces) < count:
        size_px, activations = float(np.exp(rng.uniform(*sizes))), draw_activations(rng)
        rest = heads.vertices(rng.normal(0, 1, SHAPE_SIZE).astype(np.float32), activations)
        face = read_head(heads, reader, rng, rest, size_px)
        if face is not None:
            true.append(activations)
            faces.append(face)
    network = FaceActions.load()
    # Rendered heads are the body's, of which the mean is 0.
    return activations_of(network, faces, torch.zeros_like(network.neutral)), np.stack(true)


def correlations(given: FloatArray, true: FloatArray) -> dict[str, float]:
    """Of mouth, lids, smile and sideways gaze: correlation of given and true activations (N, 52)."""

    def of(values: FloatArray, shares: Mapping[str, float]) -> FloatArray:
        return np.asarray(sum(share * values[:, FACIAL_ACTIONS.index(name)] for name, share in shares.items()))

    return {name: float(np.corrcoef(of(given, shares), of(true, shares))[0, 1]) for name, shares in _CORRELATED.items()}


def unexplained(given: FloatArray, true: FloatArray) -> list[float]:
    """Of mouth, lids, smile and sideways gaze: squared errors over squared activations."""
    names = ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft", "eyeLookOutLeft")
    columns = [FACIAL_ACTIONS.index(name) for name in names]
    return [float(np.square(given[:, i] - true[:, i]).sum() / np.square(true[:, i]).sum()) for i in columns]


def judged(people: Path) -> dict[str, dict[str, float]]:
    """Of each question: faces, and the shares of answers as given and of the more frequent one."""
    reader, answers = FaceReader.load(), judged_faces()
    if reader is None:
        raise ValueError("MediaPipe's networks are missing")
    seen = [face for face in read_faces(people, reader, _LEAST_EYES_PX) if face.annotation in answers]
    network = FaceActions.load()
    values = activations_of(network, [face.landmarks for face in seen], network.neutral)
    rows = {}
    for column, (question, (shares, meaning)) in enumerate(_JUDGED.items()):
        level = sum(share * values[:, FACIAL_ACTIONS.index(name)] for name, share in shares.items())
        known = [row for row, face in enumerate(seen) if answers[face.annotation][column] in meaning]
        truth = np.array([meaning[answers[seen[row].annotation][column]] for row in known])
        right = (np.asarray(level)[known] > _YES) == truth
        rows[question] = {
            "faces": len(known),
            "right": float(right.mean()),
            "more_frequent": max(float(truth.mean()), 1 - float(truth.mean())),
        }
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("face", __doc__, 7)
    report.add_amount(parser, "--heads", "rendered heads of each size", 300, 60, report.at_least(2))
    parser.add_argument("--people", type=Path, help="folder of photographs of people")
    parser.add_argument("--clips", type=Path, help="folder of judged clips, .mkv")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    systems: dict[str, dict[str, float]] = {}
    for face_px in (40, 60, 95):
        given, true = rendered_faces(options.heads, face_px, options.seed)
        figures = correlations(given, true)
        systems[f"{face_px} px"] = figures | {"unexplained": float(np.mean(unexplained(given, true)))}
    report.publish(options, systems, f"{options.heads} rendered heads")
    if options.people:
        print(f"\nphotographed faces\n\n{report.table(judged(options.people))}")
    if options.clips:
        names = sorted({row["clip"] for row in clips.rows_of(clips.JUDGED)})
        with torch.inference_mode():
            whole, cut = clips.read_clips(options.clips, names)
        print(f"\nclips\n\n{report.table({'whole': clips.figures(whole), 'talking heads': clips.figures(cut)})}")


if __name__ == "__main__":
    raise SystemExit(main())
