"""Windows of motions before cameras, and the training on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.synthetic.motion.windows import open_windows, write_windows
from common.training.run import parse
from sender.semantics.lifting.network import Lifted
from sender.semantics.lifting.window import KEYPOINT_SCALE, KEYPOINTS_2D, PERCEIVED
from sender.train.lifting import observed as observations
from sender.train.lifting import train as lifting
from sender.train.lifting.errors import along, keypoint_errors
from sender.train.lifting.motions import Motions
from sender.train.lifting.objective import Bodies, Weights, geometry, observed, pelvises, projected
from sender.train.lifting.samples import Windows, WindowSource
from tests.support.made_motion import gliding
from tests.support.training_examples import flags_of_examples, recipe_of, train_on_gpu


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two motions, of the training and the validation split."""
    folder: Path = tmp_path_factory.mktemp("windows")
    write_windows([gliding(name, 40, 0.5) for name in ("cmu/013_18", "cmu/009_01")], folder, 30.0)
    return folder


@pytest.fixture
def batch(windows: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Windows, Bodies]:
    """Windows of cameras whose focal lengths are known."""
    monkeypatch.setattr(observations, "_WRONG_FOCAL", 0.0)
    source = WindowSource(Motions(open_windows(windows), "train"))
    drawn = source.draw(12, 5, np.random.default_rng(2), causal=True, newest=False)
    return drawn, Bodies(source.motions.kinematics)


def test_true_entries_are_where_the_keypoints_are_seen(batch: tuple[Windows, Bodies]) -> None:
    drawn, bodies = batch
    keypoints = bodies(drawn.entries)
    torch.testing.assert_close(keypoints, drawn.keypoints, atol=1e-4, rtol=0)
    places = projected(keypoints, pelvises(drawn.entries, drawn.focal), drawn.focal)
    torch.testing.assert_close(places[drawn.inside], drawn.places[drawn.inside], atol=1e-3, rtol=1e-3)
    # Most of what is observed is near to it.
    seen = drawn.tokens[..., KEYPOINTS_2D].unflatten(-1, (-1, 2)) / KEYPOINT_SCALE + 0.5
    apart = (seen - drawn.places).norm(dim=-1)[drawn.inside & drawn.seen[..., None]]
    assert apart.median() < 0.03
    known = drawn.tokens[..., PERCEIVED.start] > 0
    assert known.any()
    wrong = drawn.tokens[..., PERCEIVED.start + 1 :][..., :6] - drawn.entries[..., :6]
    assert wrong[known].abs().median() < 0.3


def test_terms_are_least_at_the_truth(batch: tuple[Windows, Bodies]) -> None:
    drawn, bodies = batch
    drawn = replace(drawn, contacts=torch.ones_like(drawn.contacts))
    one = torch.ones_like(drawn.entries)
    exact = Lifted(
        drawn.entries, one, one, 20 * drawn.contacts - 10, drawn.up, drawn.places, torch.ones_like(drawn.places[..., 0])
    )
    off = exact._replace(
        entries=drawn.entries + 0.1 * torch.randn(drawn.entries.shape, generator=torch.Generator().manual_seed(0)),
        contact=-exact.contact, up=exact.up.flip(-1),
        keypoints=exact.keypoints + 0.1 * torch.randn(exact.keypoints.shape),
    )  # fmt: skip
    best, worse = (geometry(drawn, each, bodies, Weights()) | observed(drawn, each, Weights()) for each in (exact, off))
    for name, value in best.items():
        assert value < 0.02, name
        assert worse[name] > 2 * value + 0.01, name


def test_errors_are_as_wide_as_they_say() -> None:
    rng, shape = np.random.default_rng(1), (200, 12, 17)
    time_s = np.tile(np.arange(12) / 30, (200, 1))
    wave = along(time_s, 0.1, (5,), rng)
    assert abs(np.corrcoef(wave[:, 0].ravel(), wave[:, 3].ravel())[0, 1] - np.exp(-1)) < 0.1
    errors = keypoint_errors(np.full((*shape, 2), 0.5, np.float32), np.ones(shape, bool), time_s, rng)
    seen = errors.visible > 0.5
    share = (np.abs(errors.offset[..., 0]) < errors.sigma)[seen].mean()
    assert 0.5 < share < 0.85


def test_examples_parse() -> None:
    assert all(parse(recipe_of(lifting), flags).windows for flags in flags_of_examples(lifting))


@pytest.mark.parametrize("flags", [[], ["--no-latent"]])
def test_trains(windows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    monkeypatch.setattr(lifting, "_SHARES", (0, 0, 0, 1, 0, 0))
    monkeypatch.setattr(lifting, "_EVERY", 1)
    _, document = train_on_gpu(
        monkeypatch, lifting.LiftingTraining, tmp_path, "--windows", str(windows), "--batch", "2", *flags, steps=1
    )
    assert np.isfinite(list(document["scores"].values())).all()
