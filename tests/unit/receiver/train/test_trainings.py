"""The receiver's trainings as programs: examples, a few steps on a GPU, and export."""

from pathlib import Path

import numpy as np
import pytest

from common.body.surface_space import SURFACE_SIZE
from common.training.run import parse
from common.wear_kinds import VALUES
from common.weights.loader import load_weights
from receiver.outfits.mixture import PLAIN, decode_outfit, draw
from receiver.train import atlas_completion, diffusion
from receiver.train.diffusion import DescribedOutfits, DiffusionTraining
from receiver.train.measured_outfits import MeasuredOutfit, MeasuredOutfits
from tests.support.training_examples import assert_shipped, flags_of_examples, recipe_of, train_on_gpu


def table(count: int) -> MeasuredOutfits:
    """Samples of the mixture, as if they had been measured."""
    latents = [decode_outfit(drawn, drawn.noise) for drawn in (draw(PLAIN.as_known({}), each) for each in range(count))]
    kinds = [{name: frozenset({latent.kinds[name]}) for name in VALUES} for latent in latents]
    entries = np.random.default_rng(0).normal(size=(count, SURFACE_SIZE)).astype(np.float32)
    shells = {"top": "suit.made_suit", "hair": "hair.none"}
    return MeasuredOutfits.collect(
        MeasuredOutfit(kind, {"bottom": latent.z_prime["bottom"]}, shells, entry)
        for kind, latent, entry in zip(kinds, latents, entries, strict=True)
    )


def test_examples_parse() -> None:
    for module in (diffusion, atlas_completion):
        commands = flags_of_examples(module)
        assert commands, module.__name__
        for flags in commands:
            assert vars(parse(recipe_of(module), flags))["out"], module.__name__


def test_measured_outfits_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = table(3)
    written.write(tmp_path / "folder" / "table.npz")
    read = MeasuredOutfits.read(tmp_path / "folder" / "table.npz")
    assert len(read) == 3 and read.possible(1) == written.possible(1) and read.blocks(1) == written.blocks(1)
    assert read.blocks(1).keys() == {"bottom"} and np.array_equal(read.shells, written.shells)


def test_described_outfits_are_in_the_coordinates_of_their_component() -> None:
    """What was a sample of the mixture has the noise that it was made of."""
    described = DescribedOutfits(table(6), np.random.default_rng(0), 1)
    noise = np.stack([draw(PLAIN.as_known({}), each).noise for each in range(6)])
    bottom = slice(7, 11)
    np.testing.assert_allclose(described.x[:, bottom].numpy(), noise[:, bottom], atol=1e-3)


def test_diffusion_begins_with_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        table(4).write(tmp_path / f"{split}.npz")
    flags = ["--outfits", str(tmp_path), "--shipped"]
    assert_shipped(*train_on_gpu(monkeypatch, DiffusionTraining, tmp_path, *flags, steps=0), "diffusion")


def test_diffusion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        table(4).write(tmp_path / f"{split}.npz")
    flags = ["--outfits", str(tmp_path), "--batch", "2"]
    train_on_gpu(monkeypatch, DiffusionTraining, tmp_path, *flags)
    exported = load_weights("diffusion", directory=tmp_path / "weights")
    assert exported.keys() == load_weights("diffusion").keys()
