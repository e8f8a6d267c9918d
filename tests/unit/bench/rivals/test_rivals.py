"""The command line of the comparison."""

from types import ModuleType

import pytest

from tests.bench.rivals import meshes
from tests.bench.rivals.__main__ import main
from tests.bench.rivals.systems import DRACO, FAMILIES, MESHES, OURS, PARAMETERS, STILLS, VIDEOS, missing


@pytest.mark.parametrize(
    "flags", [["--frames", "1"], ["--rendered", "-1"], ["--workers", "0"], ["--systems", "MPEG-1"]]
)
def test_bad_flags_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(flags)
    assert exited.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_every_system_belongs_to_one_group() -> None:
    assert sorted(FAMILIES) == sorted([OURS, *PARAMETERS, *STILLS, *VIDEOS, *MESHES])


def test_system_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(module: str) -> ModuleType | None:
        return None

    monkeypatch.setattr(meshes, "installed", not_installed)
    assert missing(DRACO) == "dracopy is not installed: pip install -e '.[bench]'"
    assert missing(OURS) is None
