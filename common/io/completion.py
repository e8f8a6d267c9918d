"""Completion scripts for shells, made from the flags of a program."""

import argparse
from pathlib import Path
from typing import Any

import shtab

from common.io.configuration import Option, Program, add_flags, command_parser

# Texts that may be the path of a file.
_PATHS = ("camera", "preview", "config")


def completion_script(kind: type[Any], program: Program, options: list[Option], shell: str) -> str:
    """The script for a shell, to be sourced, or installed where the shell looks for it.

    Args:
        kind, program, options: of the daemon.
        shell: one of `SHELLS`.
    """
    parser = command_parser(kind, program, options)
    _complete_values(parser, options)
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, command in program.commands.items():
        # Without `usage`, argparse would ask for positional arguments.
        nested = commands.add_parser(
            name, help=command.help, add_help=not command.daemon_flags, usage=argparse.SUPPRESS
        )
        if command.daemon_flags:
            add_flags(nested, kind, program, options)
            _complete_values(nested, options)
        for flag, help in command.flags.items():
            nested.add_argument(flag, action="store_true", help=help)
        if command.add_arguments is not None:
            command.add_arguments(nested)
            _complete_values(nested, [])
    script: str = shtab.complete(parser, shell=shell)
    return script


def _complete_values(parser: argparse.ArgumentParser, options: list[Option]) -> None:
    """Gives the flags of a parser the values that the shell is to propose."""
    by_name = {entry.name: entry for entry in options}
    for action in parser._actions:
        entry = by_name.get(action.dest)
        if entry is not None and entry.choices:
            action.choices = entry.choices
        elif action.dest in _PATHS or action.type is Path or (entry is not None and entry.kind is Path):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
