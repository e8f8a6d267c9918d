"""docs/export.md has every flag and format of `receiver export`, and its commands are valid."""

import argparse
import re
import shlex

import pytest

from common.errors import UsageError
from common.io.command_line import CommandParser
from receiver.export.command import add_export_arguments
from receiver.mesh.formats import FORMATS
from tests.docs.test_pages import PAGES

COMMAND = re.compile(r"^    receiver export (.*)$", re.MULTILINE)
COMMANDS = [(page, command) for page, text in PAGES.items() for command in COMMAND.findall(text)]


def parser() -> argparse.ArgumentParser:
    made = CommandParser("receiver export", allow_abbrev=False)
    add_export_arguments(made)
    return made


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command_is_valid(page: str, command: str) -> None:
    parser().parse_args(shlex.split(command, comments=True))


def test_commands_are_found_and_a_wrong_one_is_not_valid() -> None:
    assert {page for page, _ in COMMANDS} == {"README.md", "docs/export.md"}
    with pytest.raises(UsageError):
        parser().parse_args(["1", "--form", "glb"])


def test_page_has_every_flag_and_format() -> None:
    page = PAGES["docs/export.md"]
    flags = [flag for action in parser()._actions for flag in action.option_strings if flag not in ("-h", "--help")]
    assert [flag for flag in flags if f"`{flag}" not in page] == []
    assert [name for name in FORMATS if f"`{name}`" not in page] == []
