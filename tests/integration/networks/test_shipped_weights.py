"""Every trained network that ships reaches a floor on a few rendered people, which a broken export does not.

The margins are generous, so that retrained networks pass.  Damaged files are noticed by their checksums; weights that
are all zero under a right checksum, by the floor.  Quality is measured by `tests.bench.quality`.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from common.errors import WeightsError
from common.synthetic.dataset import DRESSED
from common.synthetic.render_shards import CropDataset, Task, render_shard
from common.weights.loader import load_weights
from common.weights.manifest import WEIGHTS_DIRECTORY, read_manifest
from sender.perception.perception_network import PerceptionConfig
from tests.integration.networks.network_floors import FIGURES, TestPeople
from tests.support.training.changed_weights import changed_weights, zeroed

CROPS, FEW = 16, 2
FLOORS = {
    "perception": 200.0,
    "nanodet": 0.3,
    "verifier": 0.1,
    "movenet_lightning": 0.28,
    "movenet_thunder": 0.22,
    "keypoint_fusion": -5.0,
    "lifting": 137.0,
    "pose_errors": 0.35,
    "confidence": 0.3,
    "wears": 0.6,
    "face": 0.35,
    "hands": 45.0,
    "diffusion": 0.1,
    "image_channel": 15.0,
    "motion": 0.87,
    "poses": 2.9,
    "pose_diffusion": 2.8,
}
"""Network → the worst mean of its figure in `tests.integration.networks.network_floors`."""


@pytest.fixture(scope="module")
def test_people(tmp_path_factory: pytest.TempPathFactory) -> TestPeople:
    """Clothed people of the test split, from a seed that no bench uses."""
    folder: Path = tmp_path_factory.mktemp("crops")
    render_shard(Task(folder, "test", 20, 0, CROPS, PerceptionConfig().size, DRESSED))
    return TestPeople(CropDataset([folder], "test"), CROPS, FEW)


def _figure(name: str, test: TestPeople) -> float:
    return float(np.mean(FIGURES[name](test)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS)
def test_network_reaches_its_floor_and_zeroed_weights_do_not(name: str, test_people: TestPeople) -> None:
    assert _figure(name, test_people) <= FLOORS[name]
    with changed_weights(name, zeroed):
        try:
            found = _figure(name, test_people)
        except (WeightsError, ValueError):
            return
        assert not found <= FLOORS[name]


def test_every_network_has_a_floor_and_every_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((WEIGHTS_DIRECTORY / "manifest.json").read_bytes())
    entries = read_manifest()
    assert entries.keys() - {"body", "facial_actions", "head_shapes", "head_reading"} == FLOORS.keys()
    for name, entry in entries.items():
        whole = (WEIGHTS_DIRECTORY / entry.file).read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        for damaged in (b"", b"garbage " * 999, bytes(len(whole)), whole[:-1], bytes(changed)):
            (tmp_path / entry.file).write_bytes(damaged)
            with pytest.raises(WeightsError, match=rf"weights .*{re.escape(entry.file)} .*: reinstall bodywire"):
                load_weights(name, directory=tmp_path)
