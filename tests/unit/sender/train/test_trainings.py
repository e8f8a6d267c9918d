"""The sender's trainings as programs: examples, a few steps on a GPU, and export."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from common.body.model import BodyModel
from common.errors import UsageError
from common.synthetic.dataset import DRESSED
from common.synthetic.render_shards import Task, render_shard
from common.training.run import parse, train
from common.weights.loader import load_weights
from common.weights.manifest import read_manifest
from sender.attributes.surface import SurfaceReader
from sender.perception.perception_network import PerceptionConfig
from sender.perception.read import Verifier
from sender.train import (
    clothing,
    confidence,
    image_channel,
    perception,
    verifier,
    wears,
)
from sender.train.photographs import dataset as photographs
from sender.train.photographs import pseudo_keypoints
from tests.support.pictures.photograph_sources import write_judgements, write_photographs
from tests.support.training.training_examples import assert_shipped, flags_of_examples, recipe_of, train_on_gpu
from tests.unit.sender.train.photographs.test_composed import bar_people
from tests.unit.sender.train.test_crops import TINY, random_crops
from tests.unit.sender.train.test_verifier import examples


def test_examples_parse() -> None:
    for module in (perception, verifier, clothing):
        commands = flags_of_examples(module)
        assert commands, module.__name__
        for flags in commands:
            assert parse(recipe_of(module), flags).data, module.__name__
    assert all(parse(recipe_of(image_channel), flags).photographs for flags in flags_of_examples(image_channel))
    assert all(parse(recipe_of(wears), flags).openimages for flags in flags_of_examples(wears)[1:])
    other: tuple[ModuleType, ...] = (confidence, photographs, pseudo_keypoints)
    for module in other:
        assert all(module.parse(flags).out for flags in flags_of_examples(module)), module.__name__


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of two crops of people in outfits of known kinds."""
    folder: Path = tmp_path_factory.mktemp("dressed")
    render_shard(Task(folder, "train", 0, 0, 2, 192, DRESSED))
    return str(folder)


@pytest.mark.slow
def test_clothing(dressed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observed = clothing.cached_views

    def cached(
        path: Path, data: list[Path], _split: str, stage: SurfaceReader, device: torch.device
    ) -> clothing.StoredViews:
        return observed(path.with_name("views.pt"), data, "train", stage, device)

    monkeypatch.setattr(clothing, "cached_views", cached)
    network, document = train_on_gpu(
        monkeypatch, clothing.ClothingTraining, tmp_path, "--data", dressed, "--batch", "2", steps=1
    )
    assert document["crops"] == 2
    assert load_weights("clothing", directory=tmp_path / "weights").keys() == network.state_dict().keys()


@pytest.mark.slow
def test_wears(dressed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = write_photographs(tmp_path / "sources", 10)
    write_judgements(folders, monkeypatch)
    rendered, seen = ["--rendered", dressed], ["--observed", str(tmp_path / "observed")]
    people, openimages = (["--" + name, str(folders[name])] for name in ("people", "openimages"))
    training, runs = wears.WearsTraining, tmp_path / "runs"
    first = [*rendered, *seen, *openimages, "--photographs", "0.5", "--batch", "4"]
    _, document = train_on_gpu(monkeypatch, training, runs / "rendered", *first)
    one_source = document["photographed"]
    assert (document["rendered"], document["scores"]["sleeve"]) == (2, pytest.approx(0.5, abs=0.5))
    later = [*rendered, *seen, *people, *openimages, "--start", str(runs / "rendered"), "--batch", "4"]
    network, document = train_on_gpu(monkeypatch, training, runs / "all", *later, steps=1)
    assert one_source < document["photographed"] < 20, "some of both are held back"
    assert document["steps_before"] == 2
    exported = load_weights("wears", directory=runs / "all" / "weights")
    assert exported.keys() == network.state_dict().keys() and exported["mass"][0] == 0, "nobody's hair was judged"
    begun = train_on_gpu(monkeypatch, training, runs / "begun", *rendered, *seen, *people, "--shipped", steps=0)
    assert_shipped(*begun, "wears")
    with pytest.raises(UsageError, match="at least one source"):
        train(training, parse(training, [*rendered, "--out", str(runs / "none")]))


@pytest.mark.slow
def test_perception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = BodyModel.load()
    monkeypatch.setattr(perception, "PerceptionConfig", partial(PerceptionConfig, **asdict(TINY)))
    monkeypatch.setattr(perception, "training_batches", lambda *_: (random_crops(body, 2, seed) for seed in range(9)))
    monkeypatch.setattr(perception, "validation_batches", lambda *_, **__: iter([random_crops(body, 2)]))
    bar_people(tmp_path / "data", 32)
    photographs.convert(write_photographs(tmp_path / "sources"), tmp_path / "photographs")
    data = ["--data", str(tmp_path / "data"), "--photographs", str(tmp_path / "photographs")]
    training = perception.PerceptionTraining
    _, document = train_on_gpu(monkeypatch, training, tmp_path, *data, "--batch", "4")
    assert {"mpjpe_pose_mm", "photographs_pck10"} <= document["scores"].keys()
    entry = read_manifest(tmp_path / "weights")["perception"]
    assert (entry.recipe["images_seen"], entry.recipe["crops"], entry.precision) == (8, 8, "bf16")


@pytest.mark.slow
def test_verifier_separates_people_from_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    val = examples(400, seed=1)
    monkeypatch.setattr(verifier, "gather", lambda _o, split, *_: examples(1024, 0) if split == "train" else val)
    flags = ["--data", "x", "--photographs", "x", "--batch", "128"]
    network, document = train_on_gpu(monkeypatch, verifier.VerifierTraining, tmp_path, *flags, steps=300)
    scores = document["scores"]
    assert scores["auc"] > 0.97
    assert scores["auc"] > scores["auc_alone"]
    assert scores["auc_detector"] == pytest.approx(0.5, abs=0.1)
    assert scores["kept"] > 0.85
    assert scores["false_per_frame"] < 0.3
    false = ((val.score >= 0.25) & (val.person < 0.5)).sum() / 100
    assert scores["false_per_frame_detector"] == pytest.approx(float(false), abs=1e-4)
    assert Verifier.load(tmp_path / "weights").net.state_dict().keys() == network.state_dict().keys()
