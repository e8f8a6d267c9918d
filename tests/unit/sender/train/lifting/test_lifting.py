"""Windows of motions before cameras, and the training on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.synthetic.motion.windows import open_windows
from common.training.run import parse
from sender.semantics.lifting_network import FITTED, KEYPOINT_SCALE, Lifted
from sender.train.lifting import recorded as observations
from sender.train.lifting import train as lifting
from sender.train.lifting.motions import Motions
from sender.train.lifting.objective import Bodies, Weights, Windows, drawn, geometry, pelvises, projected
from sender.train.lifting.recorded import RecordedClips, imagined
from tests.support.training.training_examples import flags_of_examples, recipe_of, train_on_gpu


@pytest.fixture
def batch(clip_folder: Path, clips: RecordedClips, monkeypatch: pytest.MonkeyPatch) -> tuple[Windows, Bodies]:
    """Windows of cameras whose focal lengths are known."""
    monkeypatch.setattr(observations, "_WRONG_FOCAL", 0.0)
    motions, rng = Motions(open_windows(clip_folder / "windows"), "train"), np.random.default_rng(2)
    return drawn(imagined(8, motions, clips, rng), 12, 5, rng, causal=True), Bodies(motions.kinematics)


def test_true_entries_are_where_the_keypoints_are_seen(batch: tuple[Windows, Bodies]) -> None:
    windows, bodies = batch
    keypoints = bodies(windows.entries)
    torch.testing.assert_close(keypoints, windows.keypoints, atol=1e-4, rtol=0)
    places = projected(keypoints, pelvises(windows.entries, windows.focal), windows.focal)
    torch.testing.assert_close(places[windows.inside], windows.places[windows.inside], atol=1e-3, rtol=1e-3)
    # What is fitted and seen without an error is where the truth is.
    wrong = (windows.tokens[..., FITTED] - windows.entries)[windows.seen]
    assert wrong.abs().median() < 0.01
    seen = windows.tokens[..., :34].unflatten(-1, (-1, 2)) / KEYPOINT_SCALE + 0.5
    assert (seen - windows.places).norm(dim=-1)[windows.inside & windows.seen[..., None]].median() < 1e-3


def test_terms_are_least_at_the_truth(batch: tuple[Windows, Bodies]) -> None:
    windows, bodies = batch
    windows = replace(windows, contacts=torch.ones_like(windows.contacts))
    exact = Lifted(windows.entries, torch.ones_like(windows.entries))
    noise = torch.randn(windows.entries.shape, generator=torch.Generator().manual_seed(0))
    off = exact._replace(entries=windows.entries + 0.1 * noise)
    best, worse = (geometry(windows, each, bodies, Weights()) for each in (exact, off))
    for name, value in best.items():
        assert value < 0.02, name
        assert worse[name] > 2 * value + 0.01, name


def test_a_wave_forgets_itself_in_time() -> None:
    wave = observations.along(np.tile(np.arange(12) / 30, (200, 1)), 0.1, (5,), np.random.default_rng(1))
    assert abs(np.corrcoef(wave[:, 0].ravel(), wave[:, 3].ravel())[0, 1] - np.exp(-1)) < 0.1


def test_examples_parse() -> None:
    assert all(parse(recipe_of(lifting), flags).windows for flags in flags_of_examples(lifting))


@pytest.mark.slow
def test_trains(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "_SHARES", (0, 0, 0, 1, 0, 0))
    monkeypatch.setattr(lifting, "_EVERY", 1)
    _, document = train_on_gpu(
        monkeypatch, lifting.LiftingTraining, tmp_path, "--windows", str(clip_folder / "windows"),
        "--clips", str(clip_folder), "--batch", "2", steps=1,
    )  # fmt: skip
    assert np.isfinite(list(document["scores"].values())).all()
