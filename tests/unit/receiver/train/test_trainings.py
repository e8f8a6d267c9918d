"""The receiver's trainings as programs: examples, a few steps, resuming, removals and export."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.synthetic.dataset.split import SEED_RANGES, SPLITS
from common.weights.loader import load_weights
from receiver.train import decode, diffusion
from receiver.train.bodies import oriented_points, sample_people, template_order, write_shard
from tests.support.outfit_tables import write_outfits
from tests.support.training_examples import flags_of_examples

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight bodies and 32 outfits of each split."""
    folder = tmp_path_factory.mktemp("bodies")
    body, space = BodyModel.load(), LabelSpace.load()
    for split in SPLITS:
        people = sample_people(split, SEED_RANGES[split].start, 8)
        cloud = oriented_points(body, people, template_order(body))
        write_shard(folder / f"{split}-0000000000", space.encode(people), cloud)
        write_outfits(folder / "outfits", split, 32)
    return folder


@pytest.fixture
def run(bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a training on the bodies and gives what it wrote as scores."""

    # Sampled for many seconds; tests/unit/receiver/train/test_scores.py tests it.
    monkeypatch.setattr(diffusion, "diffusion_scores", lambda *_, **__: {"chamfer_mm": 1.0})

    def work(module: ModuleType, *flags: str) -> dict[str, Any]:
        data = ["--outfits", str(bodies / "outfits")] if module is diffusion else ["--bodies", str(bodies)]
        own = [*data, "--out", str(tmp_path), "--batch", "4", "--shipped"]
        threads = ["--threads", str(torch.get_num_threads())]
        module.train(module.parse([*own, *threads, *flags]))
        document: dict[str, Any] = json.loads((tmp_path / "scores.json").read_text())
        return document

    return work


@pytest.mark.parametrize("module", [decode, diffusion])
def test_examples_parse(module: ModuleType) -> None:
    examples = flags_of_examples(module)
    assert len(examples) == 3
    for flags in examples:
        assert vars(module.parse(flags))["out"]


@pytest.mark.parametrize(("module", "name"), [(decode, "decode"), (diffusion, "diffusion")])
def test_training_resumes_and_exports(run: Run, tmp_path: Path, module: ModuleType, name: str) -> None:
    assert run(module, "--steps", "1")["steps"] == 1
    document = run(module, "--steps", "2", "--resume", "--export", "--weights", str(tmp_path / "weights"))
    assert (document["steps"], document["samples"], document["without"]) == (2, 8, [])
    shipped, exported = load_weights(name), load_weights(name, directory=tmp_path / "weights")
    assert shipped.keys() == exported.keys()


def test_training_without_u_m_exports_weights_without_it(run: Run, tmp_path: Path) -> None:
    flags = ["--without", "u_m", "--export", "--weights", str(tmp_path / "weights")]
    assert run(diffusion, "--steps", "1", *flags)["without"] == ["u_m"]
    exported = load_weights("diffusion", directory=tmp_path / "weights")
    assert exported["denoiser.condition_norm.weight"].abs().max() == 0
