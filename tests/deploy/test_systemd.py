"""The systemd units: valid, hardened, and with options that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from common.io.command_line import read_config
from tests.deploy.queries import DEPLOY
from tests.docs.configuration_reference import PROGRAMS

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
# Of 10, where 0 is a service that can do nothing; systemd calls values below 2.5 "OK".
MOST_EXPOSURE = 2.0

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def name_of(unit: Path) -> str:
    return unit.stem.removeprefix("bodywire-")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_unit_is_valid(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    # The program is not installed there on this machine.
    copy.write_text(re.sub("^ExecStart=.*$", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_unit_is_hardened(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stdout
    assert float(exposure[1]) <= MOST_EXPOSURE


def test_units_run_the_installed_programs_as_users_of_their_own_with_options_that_exist() -> None:
    for unit in UNITS:
        name, text = name_of(unit), unit.read_text()
        program, config = PROGRAMS[name]
        lines = re.findall(r"^Environment=(\w+)=(.*)$", text, flags=re.MULTILINE)
        environment = {name: value.replace("%d", "/run/credentials") for name, value in lines}
        assert len(environment) > 4
        read_config(config, program, [], environment)
        assert f"ExecStart=/opt/bodywire/bin/{name}\n" in text
        assert "DynamicUser=yes\n" in text
        assert f"StateDirectory=bodywire-{name}\n" in text
        assert f"EnvironmentFile=-/etc/bodywire/{name}.env\n" in text
