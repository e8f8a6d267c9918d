"""Reconstruction quality on rendered test people: `python -m tests.bench.quality`.

    test crop ─ perception ─┬─ semantics ─ labels ─┬──────────────── receiver ─ labels
                            │                      └─ codec ─ codec ─ receiver ─ codec
                            └─ mask and depth heads ─────────────────────────── perception_heads
                              true labels ────────────────────────── receiver ─ truth_labels (the receiver's own error)
                              position only ──────────────────────── receiver ─ mean_body    (without observation)

The detector is not involved: crops are given, with their cameras.  `codec` is the first packet of a session at the ρ of
default rate control on an idle link.  Distances are relative to the midpoint of the hips, in the camera's axes.  The
true surface is the outer shell of the dressed person (`chamfer_surface_mm`, `chamfer_body_mm`, `p2s_*`,
`normal_consistency*`); `chamfer_bare_mm` is the distance of the skinned body without clothes from it.  `mask_iou` and
`depth_mm` compare the silhouette and the visible depth of the received mesh with the crop's true mask (what is visible
of the person, clothes and hair included) and depth (relative to the root joint, where both cover the image); the row
`perception_heads` has the sender's own heads instead, which are not transmitted.  Views (29, 30) show the
surface as published and the true outer shell in its unlit colours: the same renderer, light and textured background of
the data sets, from front and side.  Published colours are those of the texture atlas that the sender makes of the crop
alone, light removed, sent and completed; `mean_body` has none, and the neutral colour of meshes without colours.
"""

import argparse
import multiprocessing
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.arrays import ByteArray, Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import concatenate
from common.synthetic.dataset import EVERYDAY, PRESETS
from common.synthetic.render_shards import Batch, CropDataset
from common.synthetic.scene.backgrounds import BackgroundBank
from common.weights.manifest import model_hash
from receiver.engine.engine import PersonAppearance, ReconstructedPerson
from receiver.received_people import ReceivedPeople
from receiver.texture.received_texture import ReceivedTexture
from sender.capture.source import CapturedFrame
from sender.importance import Importance
from sender.lookahead import Perceived
from sender.perception.track import ObservedPerson
from sender.texture.texture_stage import TextureStage
from tests.bench import report
from tests.bench.bytes.rates import through_key_frame, unconstrained_rho
from tests.bench.measures import mean_by_key, percentile
from tests.bench.people import crops
from tests.bench.people.crops import TruePerson, Truth
from tests.bench.people.reconstruction_scores import VIEW, BareBodies, Receiver, figures, views_of
from tests.bench.perceived import CropSender, PerceivedCrop

CHUNK = 8
WORKERS = 2
RECONSTRUCTIONS = ("labels", "codec", "truth_labels", "mean_body")
HEADS = "perception_heads"
KEYS = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "pve_mm",
    "chamfer_surface_mm",
    "chamfer_body_mm",
    "chamfer_bare_mm",
    "p2s_surface_mm",
    "normal_consistency",
    "mask_iou",
    "depth_mm",
    "watertight",
    "view_mse",
    "view_ssim",
    "payload_bytes_median",
)
"""The columns of the table in this order; the JSON has a few more."""

_BACKGROUNDS = 48

Figures = dict[str, float]


Row = dict[str, Figures]
"""One image: system → figures."""


class PublishedColours:
    """What sender and receiver make of the colours in single pictures: tiles there, textures here."""

    def __init__(self) -> None:
        self._stage = TextureStage(LabelSpace.load(), BodyModel.load(), stills=True)

    def textures(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> dict[int, ReceivedTexture]:
        """The atlases that arrive of a picture, by identity."""
        arrived = ReceivedPeople()
        for blob in self._stage.update(
            Perceived(CapturedFrame(0, "", 0.0, 0.0, image, camera), observed, begins=True), people
        ):
            arrived.handlers[blob.kind](blob)
        appearance = arrived.appearance(LabelFrame(0, "", 0.0, camera, tuple(people)), live=False).items()
        return {identity: each.texture for identity, each in appearance if each.texture is not None}


class Evaluation:
    """Sender and receiver in process.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._sender, self._receiver, self._bare = CropSender(), Receiver(), BareBodies()
        self._space = LabelSpace.load()
        self._truth = Truth(BodyModel.load(), self._space)
        self._importance, self._model_hash = Importance.load(), model_hash()
        self._colours = PublishedColours()
        self._backgrounds = BackgroundBank(np.random.default_rng(0), _BACKGROUNDS)

    @property
    def size(self) -> int:
        return self._sender.size

    def rows(self, batch: Batch) -> Iterator[Row]:
        """Scores of each image of a batch."""
        perceived = self._sender.perceive(batch)
        for crop, truth in zip(perceived, self._truth.people(batch), strict=True):
            coded, size = through_key_frame(
                crop.labels, unconstrained_rho(self._importance, crop.labels), self._model_hash
            )
            found = self._reconstructed(crop, coded, truth)
            background = self._background(crop.image)
            views = views_of(truth.shell, background)
            systems = {
                name: figures(person, self._bare.of(person.labels), truth, background, views)
                for name, person in found.items()
            }
            systems["codec"]["payload_bytes"] = float(size)
            yield {**systems, HEADS: crop.heads}

    def _background(self, image: Image) -> ByteArray:
        """A textured background of the views, chosen by the content of the crop."""
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(image).tobytes()))
        return self._backgrounds.draw(rng, VIEW.width, VIEW.height).astype(np.uint8)

    def _reconstructed(
        self, crop: PerceivedCrop, coded: PersonLabels, truth: TruePerson
    ) -> dict[str, ReconstructedPerson]:
        """System → reconstruction: with the colours that the sender sees by the labels of the person."""
        groups = ([crop.labels, coded], [truth.labels], [self._mean_body(truth)])
        found: list[ReconstructedPerson] = []
        for people in groups:
            seen = bool(people[0].labels.keys() - {"root"})
            textures = self._colours.textures(crop.image, crop.camera, [crop.person], people[:1]) if seen else {}
            appearance = {identity: PersonAppearance(texture) for identity, texture in textures.items()}
            found += self._receiver.reconstruct(people, truth.camera, appearance, len(RECONSTRUCTIONS))
        return dict(zip(RECONSTRUCTIONS, found, strict=True))

    def _mean_body(self, truth: TruePerson) -> PersonLabels:
        """The mean body, upright and facing the camera, at the true position."""
        root = truth.labels.labels["root"]
        placed = self._space.decode(torch.from_numpy(concatenate({"root": root}))[None])
        upright = self._space.encode(replace(placed, rotations=torch.eye(3).expand_as(placed.rotations).clone()))
        return PersonLabels(0, 1.0, {"root": upright[0, : len(root)].numpy()})


_evaluation: Evaluation


def _start_worker() -> None:
    global _evaluation
    torch.set_num_threads(1)
    _evaluation = Evaluation()


def _evaluate(directories: Sequence[Path], indices: Sequence[int]) -> list[Row]:
    dataset = CropDataset(directories, "test")
    return list(_evaluation.rows(dataset.batch(indices, crops.truth_fields(dataset))))


def evaluate(directory: Path, count: int) -> list[Row]:
    """Scores of all images of a data set, in `WORKERS` processes, with progress on stderr."""
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    rows: list[Row] = []
    began = reported = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, _start_worker) as pool:
        for done in as_completed([pool.submit(_evaluate, [directory], chunk) for chunk in chunks]):
            rows += done.result()
            if time.monotonic() - reported > 10 or len(rows) == count:
                reported = time.monotonic()
                left_s = (reported - began) / len(rows) * (count - len(rows))
                report.progress(f"{len(rows)}/{count} images, {left_s:.0f} s left")
    return rows


def summary(rows: Sequence[Row]) -> dict[str, Figures]:
    """System → means over the images (the payload's median and 95th percentile)."""
    return {system: _summary([row[system] for row in rows]) for system in (*RECONSTRUCTIONS, HEADS)}


def _summary(rows: list[Figures]) -> Figures:
    means = mean_by_key(rows)
    if means.pop("payload_bytes", None) is not None:
        sizes = [row["payload_bytes"] for row in rows]
        means |= {"payload_bytes_median": float(np.median(sizes)), "payload_bytes_p95": percentile(sizes, 95)}
    return means


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("quality", __doc__, crops.SEED)
    report.add_amount(parser, "--count", "number of images", 1000, 120)
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default=EVERYDAY.name, help="data set preset (default: %(default)s)"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    count = options.count
    # Loads the weights before the workers do, so that missing ones are reported once.
    size = Evaluation().size
    began = time.monotonic()
    rows = evaluate(crops.crop_set(count, options.seed, size, options.preset), count)
    systems = summary(rows)
    images = f"{count} {options.preset} test images (seed {options.seed})"
    print(f"{images}, {report.machine_line()}, {time.monotonic() - began:.0f} s\n")
    print(report.table(systems, KEYS))
    report.write_json(options, systems, images=count, preset=options.preset)


if __name__ == "__main__":
    sys.exit(main())
