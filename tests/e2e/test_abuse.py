"""A minute of attacks and some kills, against the daemons."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.daemons import TIMEOUT_S

pytestmark = pytest.mark.slow


def test_honest_senders_lose_nothing_while_a_receiver_is_attacked(tmp_path: Path) -> None:
    figures, logs = tmp_path / "abuse.json", tmp_path / "logs"
    command = [sys.executable, "-m", "tests.bench.abuse", "--quick", "--json", str(figures), "--logs", str(logs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * TIMEOUT_S)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    document = json.loads(figures.read_text())
    systems, attacks = document["systems"], document["attacks"]
    assert {"protocol", "theft", "packets", "connections", "load", "doors"} <= attacks.keys()
    assert not document["faults"] and sum(row["attempts"] for row in attacks.values()) > 50
    assert systems["complete delivery"]["frames"] > 20
    assert systems["complete delivery"]["lost"] == systems["live"]["lost"] == 0
    assert systems["kills of a pair"]["frames"] > 0
