"""The receiver's trainings as programs: examples, a few steps on a GPU, removals and export."""

from pathlib import Path

import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.labels import LABEL_SIZE
from common.synthetic.dataset.split import SEED_RANGES, SPLITS
from common.training.run import parse
from common.weights.loader import load_weights
from receiver.train import atlas_completion, decode, diffusion
from receiver.train.bodies import oriented_points, sample_people, template_order, write_shard
from receiver.train.decode import DecodeTraining
from receiver.train.diffusion import DiffusionTraining
from tests.support.outfit_tables import write_outfits
from tests.support.training_examples import flags_of_examples, recipe_of, train_on_gpu


def test_examples_parse() -> None:
    for module in (decode, diffusion, atlas_completion):
        commands = flags_of_examples(module)
        assert commands, module.__name__
        for flags in commands:
            assert vars(parse(recipe_of(module), flags))["out"], module.__name__


def test_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, space = BodyModel.load(), LabelSpace.load()
    for split in SPLITS:
        people = sample_people(split, SEED_RANGES[split].start, 8)
        cloud = oriented_points(body, people, template_order(body))
        write_shard(tmp_path / f"{split}-0000000000", space.encode(people), cloud)
    flags = ["--bodies", str(tmp_path), "--batch", "4", "--shipped"]
    train_on_gpu(monkeypatch, DecodeTraining, tmp_path, *flags, steps=1)
    # What the first run wrote beside the checkpoint is used, not made again.
    monkeypatch.delattr(decode, "write_targets")
    _, document = train_on_gpu(monkeypatch, DecodeTraining, tmp_path, *flags, "--resume")
    assert (document["samples"], document["without"]) == (8, [])
    assert load_weights("decode").keys() == load_weights("decode", directory=tmp_path / "weights").keys()


def test_diffusion_without_u_m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in SPLITS:
        write_outfits(tmp_path, split, 4)
    # Sampled for many seconds; test_scores.py tests it.
    monkeypatch.setattr(diffusion, "diffusion_scores", lambda *_, **__: {"linear_mm": 1.0})
    monkeypatch.setattr(diffusion, "pose_labels", lambda _split: torch.zeros(4, LABEL_SIZE))
    flags = ["--outfits", str(tmp_path), "--batch", "2", "--shipped", "--without", "u_m"]
    _, document = train_on_gpu(monkeypatch, DiffusionTraining, tmp_path, *flags)
    assert document["without"] == ["u_m"]
    exported = load_weights("diffusion", directory=tmp_path / "weights")
    assert exported.keys() == load_weights("diffusion").keys()
    assert exported["denoiser.condition_norm.weight"].abs().max() == 0
