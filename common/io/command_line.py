"""Command lines: parsers of the flags of a daemon, and their help."""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from common.errors import UsageError
from common.io.options import Option, Program, component_summary, describe_default, meant_now, options_of
from common.text import printable

_HELP_COLUMN = 34
# Of two words, from 0 to 1, at which one may be meant by the other: `exprt` and `export` have 0.91.
_SIMILAR = 0.7


class CommandParser(argparse.ArgumentParser):
    """Raises UsageError for a wrong flag, which becomes one line like all other errors, and names the flag meant."""

    options: Sequence[Option] = ()
    """Those whose earlier names it knows."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            meant = closest(word, self._option_string_actions)
            former = meant_now(self.options, word.removeprefix("--").removeprefix("no-"))
            hint = former or (f" (did you mean {meant}?)" if meant else "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def closest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant; None if none is like it."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=_SIMILAR)), None)


def check_command(program: Program, word: str) -> None:
    """Checks a first argument that is no flag and no command.

    Raises:
        UsageError: it is a command misspelt, or this program takes no such argument.
    """
    meant = closest(word, program.commands)
    if program.bare is None:
        known = f"did you mean {meant}?" if meant else f"there are {', '.join(program.commands)}"
        raise UsageError(f"there is no command {printable(word, 100)}: {known}; see {program.name} --help")
    if meant and not os.path.lexists(word):
        raise UsageError(f"there is no command or file {word}: did you mean {meant}?; see {program.name} --help")


def parser_of(program: str, document: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a module's docstring and ends with the examples at the docstring's end.

    Args:
        program: what to type, for example "python -m sender.train.verifier".
        document: the docstring; its last part begins with a line "Examples:".
    """
    description, _, examples = document.partition("\nExamples:\n")
    return argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def command_parser(kind: type[Any], program: Program, *, everything: bool = False) -> argparse.ArgumentParser:
    """The parser of a program's flags, which raises UsageError.

    Args:
        kind: the configuration of the daemon, a dataclass of components.
        everything: its help has advanced options, too.
    """
    source = f" [{program.bare.upper()}]" if program.bare else ""
    parser = CommandParser(
        program.name,
        usage=argparse.SUPPRESS,  # it would come before the description
        description=f"{program.description}\n\nusage: {program.name}{source} [FLAG [VALUE]]...",
        epilog=_epilog(program) + ("" if everything else f"\n\n{program.name} --help-all has all options."),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=_HELP_COLUMN),
        argument_default=argparse.SUPPRESS,  # leaves out what was not given, for the environment and the file
        allow_abbrev=False,
        add_help=False,
    )
    _add_flags(parser, kind, program, everything)
    return parser


def _add_flags(parser: CommandParser, kind: type[Any], program: Program, everything: bool) -> None:
    """Adds the flags of a program to a parser, in a group for each component."""
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this text and exit")
    complete = partial(command_parser, kind, program, everything=True)
    general.add_argument("--help-all", action=_HelpAllAction, made=complete, help="show all options and exit")
    general.add_argument("--version", action=_VersionAction, daemon=program.daemon, help="show versions and exit")
    general.add_argument(
        "--config",
        metavar="PATH",
        default=None,
        help=f"TOML file with options; each can also come from the environment: {program.environment_prefix}LOG_LEVEL",
    )
    groups: dict[str, Any] = {}
    parser.options = options_of(kind)
    for entry in parser.options:
        shown = everything or not entry.advanced
        if shown and entry.component not in groups:
            summary = component_summary(kind, entry.component)
            groups[entry.component] = parser.add_argument_group(entry.component, summary)
        _add_flag(groups[entry.component] if shown else parser, entry, shown)


class _HelpAllAction(argparse.Action):
    """Prints the help of the parser that `made` makes, and exits."""

    def __init__(self, *, made: Callable[[], argparse.ArgumentParser], **settings: Any) -> None:
        super().__init__(nargs=0, **settings)
        self._made = made

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        self._made().print_help()
        parser.exit()


class _VersionAction(argparse.Action):
    """Prints the versions, which are read only when they are asked for, and exits."""

    def __init__(self, *, daemon: str, **settings: Any) -> None:
        super().__init__(nargs=0, **settings)
        self._daemon = daemon

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from common.version import version_line  # reads weights and codec tables

        sys.stdout.write(version_line(self._daemon) + "\n")
        parser.exit()


def _add_flag(group: Any, entry: Option, shown: bool) -> None:
    default = "" if entry.default in (None, ()) else f" (default: {describe_default(entry)})"
    text = (entry.help + default).replace("%", "%%") if shown else argparse.SUPPRESS
    if entry.kind is bool:
        group.add_argument(entry.flag, action=argparse.BooleanOptionalAction, help=text)
    else:
        action = "append" if entry.repeats else "store"
        group.add_argument(entry.flag, action=action, metavar=entry.placeholder, help=text)


def _epilog(program: Program) -> str:
    commands = [(f"{program.name} {name}", command.help) for name, command in program.commands.items()]
    sections = [("commands:", commands)] if commands else []
    return "\n\n".join(
        "\n".join([title, *(f"  {command}\n      {explained}" for command, explained in entries)])
        for title, entries in [*sections, ("examples:", program.examples)]
    )
