"""What each trained network is for: its figure with its weights, and with the same weights at random places.

A network that earns nothing has the same figure either way.  Figures are better when lower, on rendered people of the
test split; "estimated" begins with the labels that the sender estimates, whose errors may hide the difference.  ± is
one standard error of the difference over them.  Milliseconds are those that the network itself
computes on one core, for each person, frame or picture of its figure.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from torch import Tensor, nn

from common.picture_codec.weights import load_codecs
from common.synthetic.dataset.presets import DRESSED
from common.synthetic.dataset.shards import CropDataset
from common.weights.loader import load_weights
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from tests.bench import crops, measures, report
from tests.bench.network_figures import FIGURES, Figure, TestPeople
from tests.bench.perceived import CropSender
from tests.support.changed_weights import changed_weights, shuffled

COUNT, FEW = 96, 16
QUICK_COUNT, QUICK_FEW = 24, 4
_ROOT = Path(__file__).resolve().parents[2]

SOURCES = {
    "perception": ("sender/perception/network/*.py",),
    "detector": ("sender/perception/inference/detector.py",),
    "verifier": ("sender/perception/inference/verifier.py",),
    "semantics": ("sender/semantics/cvae.py",),
    "confidence": ("sender/semantics/confidence.py",),
    "clothing": ("sender/clothing/*.py",),
    "wears": ("sender/wears/[!e]*.py", "sender/wears/evidence.py"),
    "extras": ("sender/wears/extras.py",),
    "diffusion": ("receiver/outfits/diffusion.py",),
    "atlas_completion": ("receiver/texture/atlas_completion.py",),
    "image_channel": ("common/channel/*.py",),
    "picture_diffusion": ("common/channel/diffusion.py",),
    "picture_codec": ("common/picture_codec/*.py",),
}
"""Network → the code that would go with it."""


def lines_of_code(name: str) -> int:
    """Lines of the files that would go with a network."""
    files = [file for pattern in SOURCES[name] for file in _ROOT.glob(pattern)]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


class Stopwatch:
    """Adds up the time that a network computes, whichever of its modules are called."""

    def __init__(self) -> None:
        self.seconds = self._entered_s = 0.0
        self._depth = 0

    def watch(self, network: nn.Module) -> None:
        """Watches calls of all modules of a network."""
        for module in network.modules():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def _enter(self, *_: object) -> None:
        if not self._depth:
            self._entered_s = time.perf_counter()
        self._depth += 1

    def _leave(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - self._entered_s


@contextmanager
def watched(name: str) -> Iterator[Stopwatch]:
    """Watches the networks that are loaded with the weights of an entry within the context."""
    stopwatch, names = Stopwatch(), load_weights(name).keys()
    load_state = nn.Module.load_state_dict

    def load(network: nn.Module, state: Mapping[str, Tensor], *arguments: Any, **options: Any) -> Any:
        if state.keys() <= names:
            stopwatch.watch(network)
        return load_state(network, state, *arguments, **options)

    load_codecs.cache_clear()
    with patch.object(nn.Module, "load_state_dict", load):
        yield stopwatch


@dataclass(frozen=True)
class Removal:
    """A figure of a network, means over people.

    Args:
        shipped, without: with its weights, and with shuffled ones.
        error: standard error of the difference.
        milliseconds: that the network computes, for each value of the figure.
    """

    shipped: float
    without: float
    error: float
    milliseconds: float

    @property
    def verdict(self) -> str:
        """Whether the figure is worse by more than two standard errors without the weights."""
        return "" if self.without - self.shipped > 2 * self.error else "earns nothing yet"


def measure(name: str, figure: Figure, test: TestPeople) -> Removal:
    """One figure of a network with its weights and with shuffled ones."""
    with watched(name) as stopwatch:
        shipped = np.asarray(figure(test))
    with changed_weights(name, shuffled):
        without = np.asarray(figure(test))
    error = measures.standard_error(without - shipped)
    return Removal(float(shipped.mean()), float(without.mean()), error, 1000 * stopwatch.seconds / len(shipped))


def removal_table(removals: Mapping[tuple[str, str], Removal]) -> str:
    rows = [["network", "figure", "shipped", "shuffled", "difference", "", "MB", "ms", "lines"]]
    for (name, figure), found in removals.items():
        size = (WEIGHTS_DIRECTORY / find_entry(name).file).stat().st_size / 1e6
        digits = 3 if found.shipped < 1 else 2
        numbers = [f"{value:.{digits}f}" for value in (found.shipped, found.without)]
        difference = f"{found.without - found.shipped:+.{digits}f} ± {found.error:.{digits}f}"
        costs = [f"{size:.1f}", f"{found.milliseconds:.1f}", str(lines_of_code(name))]
        rows.append([name, figure, *numbers, difference, found.verdict, *costs])
    return report.markdown(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("removals", __doc__, 7)

    def work(options: argparse.Namespace) -> None:
        count, few = (QUICK_COUNT, QUICK_FEW) if options.quick else (COUNT, FEW)
        dataset = CropDataset([crops.crop_set(count, options.seed, CropSender().size, DRESSED.name)], "test")
        test = TestPeople(dataset, count, few)
        removals = {}
        for name, figures in FIGURES.items():
            for figure, measured in figures.items():
                report.progress(f"{name}: {figure}")
                removals[name, figure] = measure(name, measured, test)
        print(f"{count} dressed test people (seed {options.seed}), {report.machine_line()}\n")
        print(removal_table(removals))
        systems = {f"{name}, {figure}": vars(found) for (name, figure), found in removals.items()}
        report.write_json(options, systems, people=count)

    return report.run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
