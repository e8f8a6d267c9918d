"""The bench of people after a noisy channel."""

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.arrays import Image
from common.channel.transmission import Completion
from common.errors import SourceError
from common.imaging.picture_file import write_picture
from tests.bench.channel import people
from tests.bench.channel.systems import System, TrainedChannel
from tests.support.tiny_diffusion_decoder import tiny_decoder
from tests.support.tiny_image_channel import tiny_network

RATE = Fraction(1, 12)


def picture(seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def annotated(folder: Path, height_px: float) -> Path:
    """Annotations of one person of this height in one photograph of a folder."""
    write_picture(folder / "COCO_val2014_000000000007.jpg", picture()[:240])
    keypoints = [[60.0, 20.0, 2.0], [80.0, 20.0 + height_px / 2, 2.0], [70.0, 20.0 + height_px, 2.0]]
    rows = np.zeros((17, 3))
    rows[: len(keypoints)] = keypoints
    path = folder / "keypoints.json"
    path.write_text(json.dumps([{"image_id": 7, "keypoints": rows.ravel().tolist()}]))
    return path


def test_people_are_squares_around_their_boxes(tmp_path: Path) -> None:
    (found,) = people.people_of(tmp_path, annotated(tmp_path, 150.0))
    assert found.shape == (256, 256, 3)


def test_people_who_are_too_low_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no annotated people of 100 pixels"):
        people.people_of(tmp_path, annotated(tmp_path, 60.0))


def test_figures_of_a_system_and_its_pictures() -> None:
    systems: dict[str, tuple[System, Fraction]] = {
        "plain": (TrainedChannel(tiny_network()), RATE),
        "diffusion": (TrainedChannel(tiny_network(), Completion(tiny_decoder(), 1)), RATE),
    }
    originals = [picture(0)]
    figures, pictures = people.measure(systems, originals, seed=0)
    names = {f"{name}_{snr}db" for name in ("perceptual", "frechet", "psnr", "keypoints") for snr in people.SNRS_DB}
    assert set(figures["plain"]) == set(figures["diffusion"]) == names
    assert figures["plain"]["psnr_1db"] != figures["diffusion"]["psnr_1db"]
    drawn = people.sheet(originals, pictures)
    assert drawn.shape[1] == 256 * (1 + 2 * len(systems))


def test_keypoints_that_are_not_seen_in_the_original_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scripted:
        """Moves two keypoints by 3 % and 40 % of the side; the second one is not seen in the original."""

        def observe(self, crops: object) -> SimpleNamespace:
            positions = torch.zeros(2, 2, 2)
            positions[0, 0, 0], positions[0, 1, 1] = 0.03, 0.4
            return SimpleNamespace(keypoints_2d=positions, visible_logit=torch.tensor([[9.0, 9.0], [2.0, -2.0]]))

    monkeypatch.setattr("tests.bench.channel.people.Perception.load", Scripted)
    assert people.KeypointDistance()(picture(), picture()) == pytest.approx(3.0, abs=1e-4)
