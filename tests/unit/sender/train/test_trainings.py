"""The sender's trainings as programs: examples, a few steps, resuming and export."""

import json
import multiprocessing
from pathlib import Path
from types import ModuleType

import pytest
import torch

from common.synthetic.dataset.presets import WARDROBE
from common.synthetic.render_shards import Task, render_shard
from common.weights.loader import load_weights
from common.weights.manifest import read_manifest
from sender.train import (
    clothing,
    confidence,
    detector,
    perception,
    photograph_credits,
    photographs,
    semantics,
    verifier,
)
from tests.support.photograph_sources import write_photographs
from tests.support.training_examples import flags_of_examples
from tests.unit.sender.train.test_detector_frames import bar_people


@pytest.mark.parametrize(
    "module", [perception, detector, verifier, semantics, confidence, clothing, photographs, photograph_credits]
)
def test_examples_parse(module: ModuleType) -> None:
    examples = flags_of_examples(module)
    assert len(examples) == 3
    for flags in examples:
        assert module.parse(flags).out


def test_clothing_resumes_and_exports(tmp_path: Path) -> None:
    for split in ("train", "val"):
        render_shard(Task(tmp_path / "data", split, 0, 0, 2, 64, WARDROBE), multiprocessing.Value("l", 0))
    flags = ["--data", str(tmp_path / "data"), "--out", str(tmp_path), "--batch", "2"]
    flags += ["--threads", str(torch.get_num_threads())]
    clothing.train(clothing.parse([*flags, "--steps", "1"]))
    clothing.train(
        clothing.parse([*flags, "--steps", "2", "--resume", "--export", "--weights", str(tmp_path / "weights")])
    )
    entry = read_manifest(tmp_path / "weights")["clothing"]
    assert (entry.recipe["steps"], entry.recipe["crops"]) == (2, 2)
    assert load_weights("clothing").keys() == load_weights("clothing", directory=tmp_path / "weights").keys()


def test_detector_resumes_and_exports(tmp_path: Path) -> None:
    for split in ("train", "val"):
        bar_people(tmp_path / "data", 32, split)
    flags = ["--data", str(tmp_path / "data"), "--out", str(tmp_path), "--batch", "2", "--size", "64"]
    flags += ["--threads", str(torch.get_num_threads())]
    detector.train(detector.parse([*flags, "--steps", "1"]))
    detector.train(detector.parse([*flags, "--steps", "2", "--resume"]))
    document = json.loads((tmp_path / "scores.json").read_text())
    assert (document["steps"], document["samples"]) == (2, 4)
    detector.export(detector.parse([*flags, "--export", "--weights", str(tmp_path / "weights")]))
    entry = read_manifest(tmp_path / "weights")["detector"]
    assert entry.recipe["images_seen"] == 4
    assert entry.architecture["size"] == 64


def test_detector_trains_on_photographs_from_the_shipped_weights(tmp_path: Path) -> None:
    for split in ("train", "val"):
        bar_people(tmp_path / "data", 32, split)
    photographs.convert(write_photographs(tmp_path / "sources"), tmp_path / "photographs", 640)
    flags = ["--data", str(tmp_path / "data"), "--photographs", str(tmp_path / "photographs"), "--out", str(tmp_path)]
    flags += ["--shipped", "--refinements", "4", "--size", "64", "--batch", "4", "--steps", "2"]
    detector.train(detector.parse([*flags, "--threads", str(torch.get_num_threads())]))
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert {"found", "people_large_ap", "panoramas_false_0.25"} <= scores.keys()
