"""Clips of people who move before cameras, what is seen of them, and the training on them."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import torch

from common.body.label_space import LabelSpace
from common.synthetic.motion.windows import open_windows, write_windows
from common.training.run import parse
from sender.semantics.bodies import KeypointJacobian, crop_entries
from sender.semantics.lifting_network import FITTED, KEYPOINT_SCALE, Lifted
from sender.train.lifting import clips as clips_program
from sender.train.lifting import recorded
from sender.train.lifting import train as lifting
from sender.train.lifting.motions import Motions, Moving
from sender.train.lifting.recorded import Boxes, RecordedClips, backwards, crops, imagined, mirrored, transplanted
from sender.train.lifting.train import Windows, drawn, geometry, in_tensors, keypoints_of, pelvises, projected
from tests.support.motion.made_motion import gliding
from tests.support.training.training_examples import flags_of_examples, recipe_of, train_on_gpu

FRAMES, WIDTH_PX = 64, 640


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> Motions:
    folder: Path = tmp_path_factory.mktemp("windows")
    write_windows([gliding("cmu/013_18", FRAMES, 0.3)], folder, 30.0)
    return Motions(open_windows(folder), "train")


@pytest.fixture(scope="module")
def arrays(motions: Motions) -> dict[str, np.ndarray]:
    """The file of a clip in which nobody errs, whose sixth frame shows nobody; with axes of clips."""
    rng = np.random.default_rng(4)
    while not (moving := motions.draw(1, FRAMES, rng)).inside.all():
        pass
    boxes = crops(moving, rng)
    boxes = Boxes(
        boxes.centre[:, :1].repeat(FRAMES, 1), boxes.side[:, :1].repeat(FRAMES, 1), boxes.roll + np.float32(0.2)
    )
    turn, joints = boxes.turn(moving), moving.keypoints @ boxes.turn(moving)
    # By the body model, in place of what the training makes of entries.
    space = LabelSpace.load()
    body = space.decode(torch.nn.functional.pad(torch.from_numpy(moving.body[0]), (9, 0)))
    pelvis = (moving.pelvis[0, :, None] @ turn[0])[:, 0] * np.stack(
        [np.ones(FRAMES)] * 2 + [turn[0, :, 2, 2] ** 1.5], 1
    )
    root = torch.from_numpy(turn[0].swapaxes(1, 2) @ moving.turn[0])
    posed = replace(
        body,
        rotations=torch.cat([root[:, None], body.rotations[:, 1:]], 1),
        translation=torch.from_numpy(pelvis.astype(np.float32)),
    )
    entries = crop_entries(space, posed, torch.from_numpy(moving.focal[0] / boxes.side[0])).numpy()[None]
    size = WIDTH_PX * moving.size
    corners = WIDTH_PX * (boxes.centre - boxes.side[..., None] / 2) + size[:, None] / 2
    unsure = np.full((1, FRAMES, 17), -5.0, np.float32)
    return {item.name: getattr(moving, item.name) for item in fields(Moving)} | {
        "seen": np.arange(FRAMES)[None] != 5,
        "crop": np.concatenate([corners, WIDTH_PX * boxes.side[..., None], boxes.roll[..., None]], -1).astype(
            np.float32
        ),
        "view": np.arange(FRAMES)[None] % 2 * np.float32(1),
        "keypoints_2d": boxes.places(moving.places),
        "keypoints_sigma": unsure + 5.02,
        "visible_logit": unsure + 8,
        "joints_3d": joints,
        "joints_log_variance": unsure,
        "joint_depth": joints[..., 2],
        "depth_log_variance": np.zeros((1, FRAMES), np.float32),
        "entries": entries,
        "log_sigma": np.zeros((1, FRAMES, 80), np.float32),
        "camera": np.array([[*size[0], WIDTH_PX * moving.focal[0]]], np.float32),
        "assumed_focal": WIDTH_PX * moving.focal,
    }


@pytest.fixture(scope="module")
def clips(arrays: dict[str, np.ndarray]) -> RecordedClips:
    """The clip, and its mirror image."""
    both = mirrored(arrays)
    return RecordedClips.of({name: np.concatenate([each, both[name]]) for name, each in arrays.items()})


@pytest.fixture
def batch(motions: Motions, clips: RecordedClips, monkeypatch: pytest.MonkeyPatch) -> tuple[Windows, KeypointJacobian]:
    """Windows of cameras whose focal lengths are known."""
    monkeypatch.setattr(recorded, "_WRONG_FOCAL", 0.0)
    rng = np.random.default_rng(2)
    bodies = in_tensors(motions.kinematics, torch.device("cpu"))
    return drawn(imagined(8, motions, clips, rng), 12, 5, rng, causal=True), bodies


def test_true_entries_are_where_the_keypoints_are_seen(batch: tuple[Windows, KeypointJacobian]) -> None:
    windows, bodies = batch
    keypoints = keypoints_of(bodies, windows.entries)
    torch.testing.assert_close(keypoints, windows.keypoints, atol=1e-4, rtol=0)
    places = projected(keypoints, pelvises(windows.entries, windows.focal), windows.focal)
    torch.testing.assert_close(places[windows.inside], windows.places[windows.inside], atol=1e-3, rtol=1e-3)
    # What is fitted and seen without an error is where the truth is.
    wrong = (windows.tokens[..., FITTED] - windows.entries)[windows.seen]
    assert wrong.abs().median() < 0.01
    seen = windows.tokens[..., :34].unflatten(-1, (-1, 2)) / KEYPOINT_SCALE + 0.5
    assert (seen - windows.places).norm(dim=-1)[windows.inside & windows.seen[..., None]].median() < 1e-3


def test_terms_are_least_at_the_truth(batch: tuple[Windows, KeypointJacobian]) -> None:
    windows, bodies = batch
    windows = replace(windows, contacts=torch.ones_like(windows.contacts))
    exact = Lifted(windows.entries, torch.ones_like(windows.entries))
    noise = torch.randn(windows.entries.shape, generator=torch.Generator().manual_seed(0))
    off = exact._replace(entries=windows.entries + 0.1 * noise)
    best, worse = (geometry(windows, each, bodies) for each in (exact, off))
    for name, value in best.items():
        assert value < 2e-3, name
        assert worse[name] > 2 * value + 1e-3, name


def test_clips_in_which_nobody_errs(clips: RecordedClips) -> None:
    windows = clips.windows(20, 8, np.random.default_rng(0), varied=True)
    errors, seen = windows.errors, windows.seen
    npt.assert_allclose(errors.offset, 0, atol=1e-3)
    npt.assert_allclose(errors.fitted[seen], 0, atol=5e-3)
    npt.assert_allclose(errors.joints_3d, 0, atol=1e-4)
    assert {round(30 * time_s) for time_s in windows.moving.time_s[~seen]} == {5}
    assert np.array_equal(clips.errors.view[1], 1 - clips.errors.view[0]), "of the mirror image"
    # Smoothing lags, and less so where it knows what follows.
    lags = [np.abs(each[seen][:, 6:]).mean() for each in (errors.smoothed_later, errors.smoothed)]
    assert 0 < lags[0] < 0.03 and lags[0] < lags[1] < 0.06


def test_smoothing_moves_bodies_that_shake(arrays: dict[str, np.ndarray]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, arrays["entries"].shape).astype(np.float32)
    both = np.full((1, FRAMES), 0.5, np.float32)
    errors = RecordedClips.of({**arrays, "view": both, "entries": arrays["entries"] + noise}).errors
    smoothed, later, fitted = (
        float(np.abs(each[arrays["seen"]][10:-10, 9:]).mean())
        for each in (errors.smoothed, errors.smoothed_later, errors.fitted)
    )
    assert later < smoothed < 0.7 * fitted
    # Their trunks turn by the noise of six numbers, of which a rotation keeps three.
    assert 0.01 < errors.fitted[arrays["seen"]][:, :3].std() < 0.1 and not errors.fitted[..., 3:6].any()


def test_a_clip_is_played_from_its_end(arrays: dict[str, np.ndarray]) -> None:
    played = backwards(arrays)
    npt.assert_array_equal(played["pelvis"], arrays["pelvis"][:, ::-1])
    for name in ("time_s", "size", "camera", "still"):
        npt.assert_array_equal(played[name], arrays[name])


def test_transplanted_errors_are_those_of_the_clips(motions: Motions, clips: RecordedClips) -> None:
    """Keypoints that are outside of the picture are anywhere, and say that they hardly know."""
    moved = transplanted(clips.at(np.zeros(30, int)), motions, np.random.default_rng(0))
    errors, seen, known = moved.errors, moved.seen, moved.moving.inside & moved.seen[..., None]
    assert 0.5 < known.mean() < 0.95
    npt.assert_allclose(errors.offset[known], 0, atol=1e-3)
    assert np.abs(errors.offset[~known]).mean() > 0.05
    assert errors.sigma[~known].min() > 2 * errors.sigma[known].max()
    assert errors.visible[~known].max() < errors.visible[known].min()
    npt.assert_allclose(errors.fitted[seen], 0, atol=5e-3)


@pytest.mark.slow
def test_trains(arrays: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(parse(recipe_of(lifting), flags).windows for flags in flags_of_examples(lifting))
    write_windows([gliding(name, FRAMES, 0.3) for name in ("cmu/013_18", "cmu/009_01")], tmp_path / "windows", 30.0)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        stored = {name: each[0] for name, each in arrays.items()} | {"view": arrays["view"][0].astype(np.int8)}
        np.savez(tmp_path / split / "0000.npz", **stored)
    monkeypatch.setattr(lifting, "_SHARES", (0, 0, 0, 1, 0, 0))
    monkeypatch.setattr(lifting, "_EVERY", 1)
    flags = ["--windows", str(tmp_path / "windows"), "--clips", str(tmp_path), "--batch", "2"]
    _, document = train_on_gpu(monkeypatch, lifting.LiftingTraining, tmp_path, *flags, steps=1)
    assert np.isfinite(list(document["scores"].values())).all()


@pytest.mark.slow
def test_what_is_seen_is_near_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_program, "FRAMES", 3)
    write_windows([gliding("cmu/013_18", 20, 0.3)], tmp_path / "windows", 30)
    flags = ["clips", "--windows", str(tmp_path / "windows"), "--out", str(tmp_path), "--count", "1", "--seed", "3"]
    monkeypatch.setattr("sys.argv", flags)
    clips_program.main()
    clips = RecordedClips.read(tmp_path / "train")
    moving, known = clips.moving, clips.moving.inside & (clips.errors.visible > 0.5)
    assert clips.seen.all() and len(clips) == 4, "mirrored, and backwards"
    assert np.median(np.linalg.norm(clips.errors.offset, axis=-1)[known]) < 0.04, "crop widths"
    npt.assert_allclose(np.linalg.norm(moving.up, axis=-1), 1, atol=1e-5)
