import textwrap
from pathlib import Path

import pytest

from common.io.command_line import read_config
from tests.docs.configuration_reference import PROGRAMS

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")


def block_beginning_with(line: str) -> str:
    """An indented block of the page."""
    lines = PAGE[PAGE.index(f"    {line}\n") :].splitlines()
    end = next(number for number, text in enumerate(lines) if text and not text.startswith("    "))
    return textwrap.dedent("\n".join(lines[:end]))


@pytest.mark.parametrize(("first_line", "name"), [("[listen]", "receiver"), ("[capture]", "sender")])
def test_configuration_file_is_valid(tmp_path: Path, first_line: str, name: str) -> None:
    program, config = PROGRAMS[name]
    path = tmp_path / "config.toml"
    path.write_text(block_beginning_with(first_line))
    read_config(config, program, ["--config", str(path)], {})
