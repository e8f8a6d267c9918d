"""How far a picture is from its original: by measures of picture coding, and by what perception reads of the people."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image as Pictures
from torch import Tensor

from common.arrays import Image
from common.errors import UsageError
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.predictor import Perception
from tests.bench.measures import intersection_over_union

Figures = dict[str, float]
_PROGRAMS = {"butteraugli": "butteraugli_main", "ssimulacra": "ssimulacra_main"}


class Distances:
    """MS-SSIM of torchmetrics; Butteraugli (its 3-norm) and SSIMULACRA of libjxl's programs.

    Raises:
        UsageError: one of them is not installed.
    """

    def __init__(self) -> None:
        missing = [program for program in _PROGRAMS.values() if shutil.which(program) is None]
        if missing:
            raise UsageError(f"cannot find {' and '.join(missing)}: apt-get install libjxl-devtools")
        try:
            from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
        except ImportError as error:
            raise UsageError("MS-SSIM needs torchmetrics: pip install 'bodywire[bench]'") from error
        self._ms_ssim = multiscale_structural_similarity_index_measure

    def __call__(self, picture: Image, original: Image) -> Figures:
        pair = [torch.from_numpy(each.copy()).permute(2, 0, 1)[None].float() for each in (picture, original)]
        figures = {"ms_ssim": float(self._ms_ssim(*pair, data_range=255.0))}
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("original.png", "picture.png")]
            for file, each in zip(files, (original, picture), strict=True):
                Pictures.fromarray(each).save(file, compress_level=0)
            for name, program in _PROGRAMS.items():
                run = subprocess.run([program, *files], capture_output=True, text=True, check=True)
                # The last number: Butteraugli's first is its maximum.
                figures[name] = float(re.findall(r"\d+\.\d+", run.stdout)[-1])
        return figures


class People:
    """What perception reads of the people in a picture, always in the same crops of it."""

    def __init__(self, perception: Perception, crops: Sequence[CropBox], original: Image) -> None:
        self._perception, self._crops = perception, crops
        self._original = self._read(original)

    def _read(self, picture: Image) -> PerceptionOutput:
        return self._perception.observe([crop.cut(picture, self._perception.still_size) for crop in self._crops])

    def __call__(self, picture: Image) -> Figures:
        """Mean distance of the keypoints that are located in the original, % of the crops' sides, and IoU of masks."""
        read, original = self._read(picture), self._original
        moved = (read.keypoints_2d - original.keypoints_2d).norm(dim=-1)[original.located]
        masks = zip(_masks(read), _masks(original), strict=True)
        ious = [intersection_over_union(ours.numpy(), theirs.numpy()) for ours, theirs in masks]
        figures = {"mask_iou": sum(ious) / len(ious)}
        return figures | {"keypoints_percent": 100 * float(moved.mean())} if len(moved) else figures


def _masks(output: PerceptionOutput) -> Tensor:
    return output.mask_logits.float() > 0
