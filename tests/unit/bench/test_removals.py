"""The removals bench: paired differences, and which trainings it runs."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.errors import BodywireError
from tests.bench.removal_trainings import Sizes, Trainings
from tests.bench.removals import COMPARISONS, benefit, removal_table

_SIZES = Sizes((64, 16), (64, 16), (256, 64), semantics_steps=3, diffusion_steps=2)


def test_benefit_is_a_paired_difference() -> None:
    rng = np.random.default_rng(0)
    with_part = 100 + 50 * rng.normal(size=400)
    found = benefit(list(with_part), list(with_part + 2 + 4 * rng.normal(size=400)))
    assert found.difference == pytest.approx(2, abs=0.6)
    assert found.standard_error == pytest.approx(0.2, rel=0.1)
    assert found.verdict == "benefit"


def test_verdict_within_two_standard_errors() -> None:
    assert benefit([1.0, 2.0, 3.0], [2.0, 1.0, 3.1]).verdict == "no benefit shown"


def test_verdict_of_a_part_that_harms() -> None:
    assert benefit([5.0, 6.0, 7.0], [3.0, 4.1, 5.0]).verdict == "better without it"


def test_benefit_needs_the_same_people() -> None:
    with pytest.raises(ValueError, match="3 and 2 people"):
        benefit([1.0, 2.0, 3.0], [1.0, 2.0])


def test_removal_table_has_a_row_per_comparison() -> None:
    found = benefit([1.0, 2.0], [3.0, 4.5])
    table = removal_table(dict.fromkeys(COMPARISONS, found)).splitlines()
    assert len(table) == 2 + len(COMPARISONS)
    assert "+2.25 ± 0.25" in table[2]


class _Commands:
    """Replaces `subprocess.run`: records the arguments and writes the files of a training."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.returncode = 0

    def __call__(self, command: list[str], **_: object) -> SimpleNamespace:
        arguments = command[2:]
        self.calls.append(arguments)
        if "train.semantics" in arguments[0] or "train.diffusion" in arguments[0]:
            out = Path(arguments[arguments.index("--out") + 1])
            out.mkdir(parents=True, exist_ok=True)
            (out / "scores.json").write_text("{}")
            for name in ("features-train.pt", "features-val.pt"):
                (out / name).touch()
        return SimpleNamespace(returncode=self.returncode)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> _Commands:
    fake = _Commands()
    monkeypatch.setattr(subprocess, "run", fake)
    return fake


def _option(arguments: list[str], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def test_one_network_needs_neither_data_nor_trainings_of_the_other(commands: _Commands, tmp_path: Path) -> None:
    Trainings(tmp_path, _SIZES, 5, ("diffusion",)).run()
    modules = {call[0] for call in commands.calls}
    assert modules == {"common.synthetic.clothed.outfit_table", "receiver.train.diffusion"}
    assert {row.network for row in COMPARISONS} == {"diffusion", "semantics"}


def test_control_and_removals_train_equally_long(commands: _Commands, tmp_path: Path) -> None:
    Trainings(tmp_path, _SIZES, seed=5).run()
    trained = [call for call in commands.calls if _option(call, "--steps")]
    assert sorted(str(_option(call, "--without")) for call in trained) == [
        *("None", "None"),
        *("discriminator", "geometry-bias", "learned-prior", "scale-weights", "u_m"),
    ]
    assert {_option(call, "--seed") for call in trained} == {"5"}
    for module, steps in (("sender.train.semantics", "3"), ("receiver.train.diffusion", "2")):
        assert {_option(call, "--steps") for call in trained if call[0] == module} == {steps}
    assert all(("--shipped" in call) == (call[0] == "receiver.train.diffusion") for call in trained)


def test_features_are_gathered_once(commands: _Commands, tmp_path: Path) -> None:
    Trainings(tmp_path, _SIZES, seed=5).run()
    control, removal = (tmp_path / f"semantics-{name}" / "features-train.pt" for name in ("control", "discriminator"))
    assert control.samefile(removal)


def test_second_run_does_not_train_again(commands: _Commands, tmp_path: Path) -> None:
    first = Trainings(tmp_path, _SIZES, seed=5)
    first.run()
    commands.calls.clear()
    second = Trainings(tmp_path, _SIZES, seed=5)
    second.run()
    assert not [call for call in commands.calls if _option(call, "--steps")]
    assert sorted(second.commands) == sorted(first.commands)


def test_failed_command_is_an_error(commands: _Commands, tmp_path: Path) -> None:
    commands.returncode = 3
    with pytest.raises(BodywireError, match=r"render_shards exited with code 3"):
        Trainings(tmp_path, _SIZES, seed=5).run()
