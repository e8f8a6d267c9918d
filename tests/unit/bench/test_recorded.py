"""The bench that prints the manifest's scores."""

import json
from pathlib import Path

import pytest

from common.weights.manifest import read_manifest
from tests.bench.recorded import main


def test_prints_and_writes_the_scores_of_every_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(tmp_path / "scores.json")]) == 0
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "scores.json").read_text())
    for name, entry in read_manifest().items():
        assert f"{name}: " in printed
        assert written["systems"][name].keys() == entry.scores.keys()
