"""Windows of motions before cameras, and the training on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import torch

from common.frames import Camera
from common.synthetic.motion.windows import open_windows, write_windows
from common.training.run import parse
from sender.perception.crop import CropBox
from sender.semantics.lifting_network import FITTED, KEYPOINT_SCALE, Lifted
from sender.train.lifting import clips
from sender.train.lifting import recorded as observations
from sender.train.lifting import train as lifting
from sender.train.lifting.motions import Motions
from sender.train.lifting.recorded import RecordedClips, backwards, imagined, transplanted
from sender.train.lifting.train import Bodies, Windows, drawn, geometry, pelvises, projected
from tests.support.motion.made_motion import gliding
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
    best, worse = (geometry(windows, each, bodies) for each in (exact, off))
    for name, value in best.items():
        assert value < 2e-3, name
        assert worse[name] > 2 * value + 1e-3, name


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


@pytest.mark.slow
def test_what_is_seen_is_near_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "FRAMES", 3)
    write_windows([gliding("cmu/013_18", 20, 0.3)], tmp_path / "windows", 30)
    flags = ["clips", "--windows", str(tmp_path / "windows"), "--out", str(tmp_path), "--count", "1", "--seed", "3"]
    monkeypatch.setattr("sys.argv", flags)
    clips.main()
    path = tmp_path / "train" / "0000.npz"
    with np.load(path) as file:
        clip = dict(file)
    camera = Camera(int(clip["camera"][0]), int(clip["camera"][1]), float(clip["camera"][2]))
    assert clip["seen"].all()
    for row, keypoints in enumerate(clip["keypoints"] + clip["pelvis"][:, None]):
        left, top, side = clip["crop"][row, :3].astype(int)
        true = CropBox(left, top, side, float(clip["crop"][row, 3])).to_units(camera.project(keypoints))
        wrong = np.linalg.norm(clip["keypoints_2d"][row] - true, axis=-1)
        assert np.median(wrong[((true > 0) & (true < 1)).all(-1)]) < 0.04
    windows = RecordedClips.read(path.parent).windows(4, 2, np.random.default_rng(0), varied=True)
    assert windows.seen.all()
    npt.assert_allclose(np.linalg.norm(windows.moving.up, axis=-1), 1, atol=1e-5)


def test_clips_in_which_nobody_errs(clips: RecordedClips) -> None:
    windows = clips.windows(20, 8, np.random.default_rng(0), varied=True)
    errors, seen = windows.errors, windows.seen
    npt.assert_allclose(errors.offset, 0, atol=1e-3)
    npt.assert_allclose(errors.fitted[seen][..., 6:], 0, atol=5e-3)
    npt.assert_allclose(errors.fitted[..., :3], 0, atol=1e-3)
    npt.assert_allclose(errors.joints_3d, 0, atol=1e-4)
    assert {round(30 * time_s) for time_s in windows.moving.time_s[~seen]} <= {5, 58}
    assert windows.moving.inside.all()
    # Smoothing lags, and less so where it knows what follows.
    lags = [np.abs(each[seen][:, 6:]).mean() for each in (errors.smoothed_later, errors.smoothed)]
    assert 0 < lags[0] < 0.03 and lags[0] < lags[1] < 0.06


def test_smoothing_moves_bodies_that_shake(clip_folder: Path) -> None:
    with np.load(clip_folder / "train" / "0000.npz") as file:
        clip = {**file, "view": np.full(64, 0.5, np.float32)}
    clip["entries"] += np.random.default_rng(0).normal(0, 0.1, clip["entries"].shape).astype(np.float32)
    errors = RecordedClips.of({name: each[None] for name, each in clip.items()}).errors
    smoothed, later, fitted = (
        float(np.abs(each[0, clip["seen"]][10:-10, 9:]).mean())
        for each in (errors.smoothed, errors.smoothed_later, errors.fitted)
    )
    assert later < smoothed < 0.7 * fitted


def test_a_clip_is_played_from_its_end(clip_folder: Path) -> None:
    with np.load(clip_folder / "train" / "0000.npz") as file:
        clip = {name: each[None] for name, each in file.items()}
    played = backwards(clip)
    npt.assert_array_equal(played["pelvis"], clip["pelvis"][:, ::-1])
    for name in ("time_s", "size", "camera", "still"):
        npt.assert_array_equal(played[name], clip[name])


def test_transplanted_errors_are_those_of_the_clips(clip_folder: Path, clips: RecordedClips) -> None:
    """Keypoints that are outside of the picture are anywhere, and say that they hardly know."""
    many, motions = clips.at(np.zeros(30, int)), Motions(open_windows(clip_folder / "windows"), "train")
    moved = transplanted(many, motions, np.random.default_rng(0))
    errors, seen, known = moved.errors, moved.seen, moved.moving.inside & moved.seen[..., None]
    assert 0.5 < known.mean() < 0.95
    npt.assert_allclose(errors.offset[known], 0, atol=1e-3)
    assert np.abs(errors.offset[~known]).mean() > 0.05
    assert errors.sigma[~known].min() > 2 * errors.sigma[known].max()
    assert errors.visible[~known].max() < errors.visible[known].min()
    npt.assert_allclose(errors.fitted[seen][:, 9:], 0, atol=5e-3)
    assert 0.9 < seen.mean() < 1
