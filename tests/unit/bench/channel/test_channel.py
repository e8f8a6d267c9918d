"""The bench of the image channel: files at capacity, budgets, paired changes, and distances."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from common.arrays import ByteArray, Image
from common.channel.state import ChannelState
from common.errors import UsageError
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.view_turns import View
from tests.bench.channel.__main__ import CHANNELS, Case, FilesAtCapacity, Sent, means, measured, psnr_db
from tests.bench.channel.distances import Distances, People

RATE = Fraction(1, 16)


def leaves(seed: int) -> Image:
    """Overlapping rectangles of random colours, which have edges of all sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((192, 192, 3), np.uint8)
    for _ in range(200):
        (top, left), (height, width) = rng.integers(0, 192, 2), rng.integers(3, 64, 2)
        picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return picture


def case(seed: int = 0) -> Case:
    """A picture with a person in the upper half."""
    return Case(leaves(seed), np.repeat([[1], [0]], 6, axis=0).astype(np.uint8).repeat(12, axis=1))


def distances(picture: Image, original: Image) -> dict[str, float]:
    return {"ms_ssim": 0.5}


def test_files_pass_at_capacity_and_get_better_with_the_snr() -> None:
    files, quality = FilesAtCapacity("WEBP"), []
    for snr_db in (0.0, 6.0, 13.0):
        sent = files(case(), ChannelState(snr_db), RATE, 0)
        assert sent is not None and 0.7 * RATE < sent.ratio <= RATE
        quality.append(psnr_db(sent.picture, case().picture))
    assert quality == sorted(quality)
    assert files(case(), ChannelState(-20.0), Fraction(1, 64), 0) is None


def test_changes_are_paired_and_exceeded_budgets_are_found() -> None:
    def brighter(levels: int) -> object:
        return lambda case, channel, rate, seed: Sent(case.picture // 2 + np.uint8(levels + seed), float(rate))

    compared = {"bodywire": brighter(2), "other": brighter(9), "silent": lambda *_: None}
    found = means(
        measured(compared, [case(0), case(1)], CHANNELS, RATE, 0, distances)  # type: ignore[arg-type]
    )
    assert {f"psnr_db_{snr_db}" for snr_db in (1, 4, 7, 10, 13)} | {"ms_ssim_10", "mask_db_10"} <= found["other"].keys()
    assert found["bodywire"]["channel_uses_per_pixel_10"] == pytest.approx(3 / 16)
    for figure in ("psnr_db", "mask_db"):
        change = found["other"][f"{figure}_10"] - found["bodywire"][f"{figure}_10"]
        assert found["other"][f"{figure}_change"] == pytest.approx(change)
        assert 0 < found["other"][f"{figure}_error"] < abs(change)
    assert found["silent"] == {key: 0.0 for key in found["other"] if key.startswith("sent_share")}
    with pytest.raises(AssertionError, match="exceeds the budget"):
        measured({"bodywire": lambda case, *_: Sent(case.picture, 0.07)}, [case()], CHANNELS, RATE, 0, distances)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="butteraugli_main and ssimulacra_main: apt-get install libjxl-devtools"):
        Distances()


class SurePerception(Perception):
    """It locates all keypoints."""

    def observe(self, crops: Sequence[ByteArray], view: View = "both") -> PerceptionOutput:
        seen = super().observe(crops, view)
        return replace(seen, visible_logit=torch.ones(len(seen), 17), keypoints_sigma=torch.zeros(len(seen), 17))


def test_people_are_read_in_the_same_crops() -> None:
    picture = leaves(0)
    tiny = PerceptionConfig(size=64, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
    people = People(SurePerception(PerceptionNet(tiny)), [CropBox(0, 0, 96), CropBox(64, 32, 128)], picture)
    assert people(picture) == {"mask_iou": 1.0, "keypoints_percent": 0.0}
    grey = people(np.full_like(picture, 128))
    assert grey["mask_iou"] < 1 and grey["keypoints_percent"] > 0
