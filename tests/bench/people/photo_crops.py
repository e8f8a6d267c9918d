"""People of photographs in their annotated boxes: keypoints of perception, and of MediaPipe on the same crops.

A crop is the square around the person's box, as the sender cuts it.
"""

import io
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from common.arrays import FloatArray, Image
from common.errors import UsageError
from sender.capture.source import CapturedFrame
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import predict_in_boxes
from sender.train.crops.scores import standard_error
from tests.bench.people.photo_scores import AnnotatedPerson, image_id

# MediaPipe's networks read crops of this side; larger ones are scaled down.
_PEER_SIDE_PX = 256
_PEER = Path(__file__).with_name("mediapipe_pose.py")
_TIMEOUT_S = 600.0
SHARES = (0.05, 0.1, 0.2)


class BoxedPeople:
    """The annotated people of some photographs, each in the crop around their box.

    Args:
        annotations: by image id.
    """

    def __init__(self, frames: Sequence[CapturedFrame], annotations: Mapping[int, list[AnnotatedPerson]]) -> None:
        self._people: list[tuple[Image, CropBox, AnnotatedPerson]] = []
        for frame in frames:
            for person in annotations.get(image_id(frame.source) or -1, []):
                self._people.append((frame.image, CropBox.around(person.box), person))

    def __len__(self) -> int:
        return len(self._people)

    def perceived(self, perception: Perception) -> list[FloatArray]:
        """Perception's keypoints (17, 2) of each person as in use, pixels of the photograph."""
        found = []
        for image, crop, person in self._people:
            output = predict_in_boxes(perception, image, [person.box], thorough=True).output
            found.append(crop.to_pixels(output.keypoints_2d[0].float().numpy()))
        return found

    def of_peer(self, python: Path) -> list[FloatArray]:
        """The same of MediaPipe; NaN where it finds nobody.

        Args:
            python: of an environment in which `mediapipe` is installed.

        Raises:
            UsageError: it cannot be run.
        """
        crops = np.stack([crop.cut(image, _PEER_SIDE_PX) for image, crop, _ in self._people])
        data = io.BytesIO()
        np.savez(data, crops=crops)
        try:
            done = subprocess.run(
                [str(python), str(_PEER)], input=data.getvalue(), capture_output=True, check=True, timeout=_TIMEOUT_S
            )
            keypoints = np.load(io.BytesIO(done.stdout))["keypoints"]
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            raise UsageError(f"--peer {python}: {error}; it needs `pip install mediapipe==0.10.21`") from error
        return [crop.to_pixels(rows) for (_, crop, _), rows in zip(self._people, keypoints, strict=True)]

    def figures(self, found: Sequence[FloatArray]) -> dict[str, float]:
        """PCK of keypoints (17, 2) of each person, with standard errors over people; NaN counts as missed."""
        errors = [person.errors(keypoints) for (_, _, person), keypoints in zip(self._people, found, strict=True)]
        figures = {"people": float(len(errors))}
        error = pad_sequence([torch.from_numpy(own) for own in errors], batch_first=True, padding_value=torch.nan)
        counted = pad_sequence([torch.ones(len(own), dtype=torch.bool) for own in errors], batch_first=True)
        for share in SHARES:
            hit = error < share
            figures[f"pck{100 * share:02.0f}"] = float(hit[counted].float().mean())
            figures[f"pck{100 * share:02.0f}_standard_error"] = standard_error(hit, counted)
        return figures
