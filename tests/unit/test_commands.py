"""The commands of the daemons, as `--help` and completion show them, are those that there are."""

import pytest

import receiver.__main__
import sender.__main__


@pytest.mark.parametrize("daemon", [sender.__main__, receiver.__main__])
def test_help_shows_every_command(daemon: object) -> None:
    assert set(daemon.PROGRAM.commands) == set(daemon.SUBCOMMANDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("main", [sender.__main__.main, receiver.__main__.main])
def test_first_argument_names_a_command(main: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["doctor", "--help"])  # type: ignore[operator]
    assert exited.value.code == 0
    assert "doctor [FLAG [VALUE]]..." in capsys.readouterr().out
