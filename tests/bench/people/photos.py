"""Keypoint accuracy on annotated photographs: `python -m tests.bench.photos --folder DIR`.

Photographs are for testing only.  Each image passes sender, codec and receiver in process; the keypoints that the
receiver publishes are compared with annotations in COCO's format (a list of objects with `image_id` and `keypoints`,
17 × [x, y, visibility]):

    people          annotated people on the given images
    found           of them, those that a published person was matched to
    pck05, pck10    share of the annotated keypoints within 0.05 and 0.1 of the person's box (the longer side of the
                    annotated keypoints' extent); keypoints of people not found count as missed
    large_…         the same for people whose box is at least 80 pixels high
    facing          share of the found people whose front and back are right, of `facing_people` who are not seen
                    from the side, judged by left and right of shoulders and hips
    false_people    published on annotated images without a match (annotations may be incomplete)
    mask_iou        mean IoU of the silhouettes of all published people with perception's own masks, in their crops

`keypoints head` has the 2D keypoints of perception instead, before semantics.

A second table has the people in their annotated boxes, where detection does not matter: PCK of perception's keypoints,
± one standard error over people.

`--held-out` takes only the photographs that are held back from trainings.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from bodywire.both_ends import BothEnds, Rebuilt
from receiver.mesh.render import depth_map
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.config import TrackerConfig
from sender.perception.predictor import Perception
from sender.perception.read import predict_in_boxes
from sender.train.crops import SHARES, standard_error
from sender.train.photographs.dataset import held_out
from tests.bench import measures, report
from tests.bench.people.photo_scores import (
    AnnotatedPerson,
    ImageScore,
    image_id,
    read_annotations,
    score_image,
    summary,
)
from tests.bench.whole_system import whole_system

QUICK_FRAMES = 40


def read_frames(folder: str, *, held_out_only: bool) -> list[CapturedFrame]:
    """The photographs of a folder.

    Args:
        folder: as `--camera` of the sender.
        held_out_only: without the photographs that trainings use.

    Raises:
        SourceError: it cannot be read.
    """
    names = [path.name for path in Path(folder).glob("*.jpg")] if held_out_only else []
    chosen = held_out(names)
    with open_source(folder) as source:
        return [frame for frame in source if not held_out_only or frame.source in chosen]


def run_images(
    frames: Sequence[CapturedFrame],
    system: BothEnds,
    annotations: Mapping[int, list[AnnotatedPerson]],
) -> dict[str, dict[str, float]]:
    """System → figures over a folder's images, of published keypoints and of the keypoints head; prints each image."""
    scores: dict[str, list[ImageScore]] = {"bodywire": [], "keypoints head": []}
    ious: list[float] = []
    rows = [["image", "annotated", "published", "found", "false", "mean error, box"]]
    for frame in frames:
        rebuilt = system.rebuild(frame)
        found = [person.keypoints_2d[:, :2] for person in rebuilt.people]
        seen = [person.crop.to_pixels(person.output.keypoints_2d[0].float().numpy()) for person in rebuilt.observed]
        ious += silhouette_ious(rebuilt)
        annotated = annotations.get(image_id(frame.source) or -1)
        if annotated is None:
            rows.append([frame.source, "–", str(len(found)), "–", "–", "–"])
            continue
        score = score_image(annotated, found)
        scores["bodywire"].append(score)
        scores["keypoints head"].append(score_image(annotated, seen))
        errors = [errors.mean() for errors in score.matched if errors is not None]
        mean = f"{np.mean(errors):.3f}" if errors else "–"
        cells = [len(annotated), len(found), len(errors), score.false_people]
        rows.append([frame.source, *map(str, cells), mean])
    print(report.markdown(rows), "\n")
    systems = {name: {"images": float(len(frames))} | summary(own) for name, own in scores.items() if own}
    if ious and scores["bodywire"]:
        systems["bodywire"] |= {"mask_iou": float(np.mean(ious))}
    return systems


def silhouette_ious(rebuilt: Rebuilt) -> list[float]:
    """Of each published person: IoU of the surface with perception's mask in its crop."""
    seen, ious = {person.identity: person for person in rebuilt.observed}, []
    for person in rebuilt.people:
        observed = seen[person.labels.identity]
        mask = observed.output.mask_logits[0].float().numpy() > 0
        silhouette = depth_map(person.surface, rebuilt.labels.camera) > 0
        picture = np.repeat(np.uint8(255) * silhouette[..., None], 3, axis=2)
        ious.append(measures.intersection_over_union(observed.crop.cut(picture, len(mask))[..., 0] > 127, mask))
    return ious


def in_boxes(
    frames: Sequence[CapturedFrame], annotations: Mapping[int, list[AnnotatedPerson]]
) -> dict[str, dict[str, float]]:
    """PCK of perception's keypoints of the people in their annotated boxes; nothing where nobody is annotated."""
    perception, errors = Perception.load(), list[torch.Tensor]()
    for frame in frames:
        for person in annotations.get(image_id(frame.source) or -1, []):
            seen = predict_in_boxes(perception, frame.image, [person.box], thorough=True)
            keypoints = seen.crops[0].to_pixels(seen.output.keypoints_2d[0].float().numpy())
            errors.append(torch.from_numpy(person.errors(keypoints)))
    if not errors:
        return {}
    error = pad_sequence(errors, batch_first=True, padding_value=torch.nan)
    counted, figures = ~error.isnan(), {"people": float(len(errors))}
    for share in SHARES:
        hit, name = error < share, f"pck{100 * share:02.0f}"
        figures |= {name: float(hit[counted].float().mean()), f"{name}_standard_error": standard_error(hit, counted)}
    return {"keypoints head": figures}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("photos", __doc__, 0)
    parser.add_argument("--folder", required=True, metavar="PATH", help="folder of images, or one image")
    parser.add_argument("--keypoints", type=Path, metavar="FILE", help="annotations, a list in COCO's format")
    parser.add_argument(
        "--held-out", action="store_true", help="only the validation split of the photographs that trainings use"
    )
    parser.add_argument(
        "--max-people", type=int, default=10, help="maximum number of people per frame (default: %(default)s)"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    annotations = read_annotations(options.keypoints) if options.keypoints else {}
    frames = read_frames(options.folder, held_out_only=options.held_out)
    frames = frames[:QUICK_FRAMES] if options.quick else frames
    system = whole_system(TrackerConfig(options.max_people), stills=True)
    print(f"{options.folder}, {report.machine_line()}\n")
    systems = run_images(frames, system, annotations)
    print(report.table(systems))
    boxed = in_boxes(frames, annotations)
    if boxed:
        print(f"\nIn annotated boxes:\n\n{report.table(boxed)}")
    report.write_json(options, systems, folder=Path(options.folder).name, in_boxes=boxed)


if __name__ == "__main__":
    sys.exit(main())
