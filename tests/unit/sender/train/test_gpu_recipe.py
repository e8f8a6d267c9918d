"""The stages for a lent GPU: their programs take the flags, and what they read is written before."""

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from common.training.stages import Schedule, Stage
from sender.train.__main__ import main, parse
from sender.train.gpu_recipe import GpuRecipe


class Taken(Exception):
    """The program has taken its flags."""


def recipe(*, share: float = 1.0, gpu: bool = True) -> GpuRecipe:
    return GpuRecipe(Path("runs/gpu"), Path("photographs"), 24.0 * share, share, cores=16, gpu=gpu)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_programs_take_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    take = argparse.ArgumentParser.parse_known_args

    def taken(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None, namespace: Any = None) -> Any:
        _, unknown = take(parser, arguments, namespace)
        assert not unknown
        raise Taken

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", taken)
    for stage in {stage.module: stage for stage in recipe().stages()}.values():
        monkeypatch.setattr(sys, "argv", [stage.module, *stage.flags])
        with pytest.raises(Taken):
            runpy.run_module(stage.module, run_name="__main__")


def test_plan_is_sound_and_its_trainings_share_cores_and_minutes(tmp_path: Path) -> None:
    stages = recipe().stages()
    Schedule(stages, tmp_path, 16, {})
    by_name = {stage.name: stage for stage in stages}
    together = [by_name["perception"], by_name["detector"], by_name["dressed-train"]]
    assert sum(stage.cores for stage in together) <= 16
    longest = max(ending_minutes(by_name, stage) for stage in stages)
    assert 12 < longest < 24


def ending_minutes(by_name: dict[str, Stage], stage: Stage) -> float:
    """When a stage ends at the earliest, of the minutes that its flags name."""
    own = dict(zip(stage.flags, stage.flags[1:], strict=False)).get("--minutes", "0")
    return float(own) + max((ending_minutes(by_name, by_name[name]) for name in stage.after), default=0.0)


def test_small_share_has_the_same_stages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, small = recipe().stages(), recipe(share=0.01, gpu=False).stages()
    assert [stage.name for stage in small] == [stage.name for stage in whole]
    flags = ["--recipe", "gpu", "--photographs", "photographs", "--out", "runs/gpu"]
    monkeypatch.setattr(sys, "argv", ["sender.train", *flags, "--share", "0.01", "--dry-run"])
    assert main() == 0
    assert len(capsys.readouterr().out.splitlines()) == len(whole)
    for wrong in (["--share", "0"], ["--minutes", "-1"], ["--cores", "0"]):
        with pytest.raises(SystemExit):
            parse([*flags, *wrong])
