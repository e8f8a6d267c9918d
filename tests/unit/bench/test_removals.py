"""The removals bench: what it counts as earned, and the time of a network."""

import torch
from torch import nn

from common.weights.manifest import read_manifest
from tests.bench.network_figures import FIGURES
from tests.bench.removals import SOURCES, Removal, Stopwatch, lines_of_code, removal_table


def test_every_trained_network_has_a_row() -> None:
    assert FIGURES.keys() == SOURCES.keys() == read_manifest().keys()
    assert all(lines_of_code(name) > 50 for name in SOURCES)


def test_verdict_and_table() -> None:
    earned, idle = Removal(1.0, 3.25, 0.25, 2.0), Removal(5.0, 5.02, 0.02, 1.0)
    assert (earned.verdict, idle.verdict) == ("", "earns nothing yet")
    table = removal_table({("confidence", "Brier score"): idle, ("detector", "people missed"): earned}).splitlines()
    assert "+0.02 ± 0.02 | earns nothing yet" in table[2]
    assert "+2.25 ± 0.25" in table[3]


def test_nested_modules_are_timed_once() -> None:
    network, stopwatch = nn.Sequential(nn.Linear(300, 300), nn.Sequential(nn.Linear(300, 300))), Stopwatch()
    stopwatch.watch(network)
    network(torch.ones(500, 300))
    whole = stopwatch.seconds
    network[1](torch.ones(500, 300))
    assert 0 < whole < stopwatch.seconds
