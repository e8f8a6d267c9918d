"""Configuration of a daemon from flags, environment variables, a TOML file and defaults, in this order of precedence.

Each component has a frozen dataclass whose fields are made by `option`; a daemon's configuration is a dataclass of such
components. The field `focal_px` of the component `capture` is then

    --focal-px 900                       on the command line,
    BODYWIRE_SENDER_FOCAL_PX=900         in the environment of `sender`,
    [capture]                            in the TOML file that --config names.
    focal_px = 900

The field of an option whose name is a word of Python, such as `from`, ends with an underscore.

A field is a `str`, `int`, `float`, `bool`, `Path`, `Address`, `Addresses` or a `Literal` of strings, or one of these
`| None`. A component checks itself in `__post_init__` and raises `ValueError`. An address may leave out the host or the
port if its field has a default address, which completes it.
"""

import argparse
import dataclasses
import keyword
import math
import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from common.errors import UsageError
from common.io.addresses import Address, Addresses
from common.io.command_parser import CommandParser

T = TypeVar("T")

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_HELP_COLUMN = 34
SHELLS = ("bash", "zsh", "fish")
"""The shells that `--completion` knows."""


def option(default: Any, *, help: str, bare: bool = False) -> Any:
    """A field of a component's configuration.

    Args:
        default: the field's value unless configured.
        help: the description in `--help`, with the unit of a number.
        bare: whether the flag may be given without a value, which means the default.
    """
    return dataclasses.field(default=default, metadata={"help": help, "bare": bare})


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a program, given as its first argument, as `--help` and shell completion show it.

    Args:
        help: what it does.
        daemon_flags: whether it takes the flags of the program.
        flags: its own flags without a value, with what they do.
        add_arguments: adds all other arguments of it to a parser.
    """

    help: str
    daemon_flags: bool = False
    flags: Mapping[str, str] = field(default_factory=dict)
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, as `--help` and `--version` show it.

    Args:
        name: `sender` or `receiver`, maybe followed by a command; the first word names the environment variables.
        description: one or two sentences.
        examples: command and explanation of each.
        version: returns the line that `--version` prints; raises BodywireError.
        commands: by name.
    """

    name: str
    description: str
    examples: Sequence[tuple[str, str]]
    version: Callable[[], str]
    commands: Mapping[str, Command] = field(default_factory=dict)

    @property
    def environment_prefix(self) -> str:
        return f"BODYWIRE_{self.name.split()[0].upper()}_"


@dataclass(frozen=True, slots=True)
class Option:
    """One configurable field.

    Args:
        component: the field of the daemon's configuration that it belongs to, which is also its TOML table.
        name: the field's name.
        kind: the field's type, without `| None`.
        default: value if it is not configured.
        help: description.
        bare: see `option`.
    """

    component: str
    name: str
    kind: Any
    default: Any
    help: str
    bare: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def choices(self) -> tuple[str, ...]:
        """The permitted values, if the type lists them."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def placeholder(self) -> str:
        """What `--help` shows for the value."""
        return "{" + ",".join(self.choices) + "}" if self.choices else _PLACEHOLDERS[self.kind]

    def parse(self, text: str) -> Any:
        """Text from a flag or the environment as a value of `kind`; raises ValueError."""
        if "\0" in text:
            raise ValueError(f"{text!r} has a NUL character")
        if self.choices:
            if text not in self.choices:
                raise ValueError(f"{text!r} is none of {', '.join(self.choices)}")
            return text
        if self.kind is bool:
            if text.lower() not in _WORDS:
                raise ValueError(f"{text!r} is none of {', '.join(_WORDS)}")
            return _WORDS[text.lower()]
        if self.kind in (int, float):
            return _number(text, self.kind)
        if self.kind in (Address, Addresses):
            return self.kind.parse(text, self.default)
        return self.kind(text)

    def accept(self, value: Any) -> Any:
        """A value from a TOML file, of the type that TOML gives it; raises ValueError."""
        if self.kind in (bool, int, float):
            fits = isinstance(value, (int, float) if self.kind is float else self.kind)
            if not fits or (isinstance(value, bool) and self.kind is not bool):
                raise ValueError(f"{value!r} is not {_KIND_NAMES[self.kind]}")
            return _number(str(value), self.kind) if self.kind is float else value
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text in quotes")
        return self.parse(value)


_KIND_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}
_PLACEHOLDERS = {
    **{int: "N", float: "NUMBER", bool: "BOOL", str: "TEXT", Path: "PATH"},
    **{Address: "HOST:PORT", Addresses: "HOST:PORT,…"},
}


def _number(text: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {_KIND_NAMES[kind]}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


class _VersionAction(argparse.Action):
    """Prints the version, which is computed only when it is asked for, and exits."""

    def __init__(self, *, line: Callable[[], str], **settings: Any) -> None:
        super().__init__(**settings, nargs=0)
        self._line = line

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        sys.stdout.write(self._line() + "\n")
        parser.exit()


class _CompletionAction(argparse.Action):
    """Prints a completion script and exits."""

    def __init__(self, *, script: Callable[[str], str], **settings: Any) -> None:
        super().__init__(**settings)
        self._script = script

    def __call__(self, parser: argparse.ArgumentParser, _: argparse.Namespace, shell: Any, *__: Any) -> None:
        sys.stdout.write(self._script(shell) + "\n")
        parser.exit()


def read_config(
    kind: type[T],
    program: Program,
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Builds a daemon's configuration, a dataclass of components, from all four sources.

    Args:
        kind: the dataclass.
        program: the command line.
        arguments: flags without the program's name; by default those of the process.
        environment: environment variables; by default those of the process.

    Raises:
        UsageError: an unknown flag, variable or key, a value that does not parse or is out of range, or a file that
            cannot be read.
    """
    options = options_of(kind)
    environment = os.environ if environment is None else environment
    flags = command_parser(kind, program, options).parse_args(arguments)
    prefix = program.environment_prefix
    path = flags.config or environment.get(prefix + "CONFIG")
    values = _from_file(Path(path), options) if path else {}
    values |= _from_environment(prefix, environment, options)
    values |= _from_flags(flags, options)
    return _build(kind, program, values)


def options_of(kind: type[Any]) -> list[Option]:
    """The options of a daemon's configuration, component by component.

    Raises:
        ValueError: two components have an option of the same name.
    """
    options: list[Option] = []
    for component, component_kind in get_type_hints(kind).items():
        hints = get_type_hints(component_kind)
        for entry in dataclasses.fields(component_kind):
            entry_kind = _without_none(hints[entry.name])
            # `from_` is the option `from`.
            name = entry.name.removesuffix("_")
            options.append(Option(component, name, entry_kind, entry.default, **entry.metadata))
    names = [known.name for known in options]
    if len(set(names)) != len(names):
        raise ValueError(f"two components of {kind.__name__} share an option: {sorted(names)}")
    return options


def component_summary(kind: type[Any], component: str) -> str:
    """The first paragraph of a component's docstring, on one line."""
    return " ".join((get_type_hints(kind)[component].__doc__ or "").partition("\n\n")[0].split())


def _without_none(hint: Any) -> Any:
    """`X | None` as X."""
    alternatives = [kind for kind in get_args(hint) if kind is not NoneType]
    return alternatives[0] if NoneType in get_args(hint) and len(alternatives) == 1 else hint


def command_parser(kind: type[Any], program: Program, options: list[Option]) -> argparse.ArgumentParser:
    """The parser of a program's flags, which raises UsageError."""
    parser = CommandParser(
        program.name,
        usage=argparse.SUPPRESS,  # it would come before the description
        description=f"{program.description}\n\nusage: {program.name} [FLAG [VALUE]]...",
        epilog=_epilog(program),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=_HELP_COLUMN),
        argument_default=argparse.SUPPRESS,  # leaves out what was not given, for the environment and the file
        allow_abbrev=False,
        add_help=False,
    )
    add_flags(parser, kind, program, options)
    return parser


def add_flags(parser: argparse.ArgumentParser, kind: type[Any], program: Program, options: list[Option]) -> None:
    """Adds the flags of a program to a parser, in a group for each component."""
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this text and exit")
    general.add_argument("--version", action=_VersionAction, line=program.version, help="show versions and exit")
    if " " not in program.name:
        general.add_argument(
            "--completion",
            action=_CompletionAction,
            script=partial(_completion_script, kind, program, options),
            choices=SHELLS,
            help="show a script that completes commands, flags and values in this shell, and exit",
        )
    general.add_argument(
        "--config",
        metavar="PATH",
        default=None,
        help=f"TOML file with options; each can also come from the environment: {program.environment_prefix}LOG_LEVEL",
    )
    groups = {
        component: parser.add_argument_group(component, component_summary(kind, component))
        for component in dict.fromkeys(entry.component for entry in options)
    }
    for entry in options:
        _add_flag(groups[entry.component], entry)


def _completion_script(kind: type[Any], program: Program, options: list[Option], shell: str) -> str:
    # Imported here, because only this needs it.
    from common.io.completion import completion_script

    return completion_script(kind, program, options, shell)


def _add_flag(group: Any, entry: Option) -> None:
    default = "" if entry.default is None else f" (default: {describe_default(entry)})"
    shown = (entry.help + default).replace("%", "%%")
    if entry.kind is bool:
        group.add_argument(entry.flag, action=argparse.BooleanOptionalAction, help=shown)
    elif entry.bare:
        group.add_argument(entry.flag, metavar=entry.placeholder, nargs="?", const=str(entry.default), help=shown)
    else:
        group.add_argument(entry.flag, metavar=entry.placeholder, help=shown)


def describe_default(entry: Option) -> str:
    """An option's default as one would write it."""
    if entry.kind is bool:
        return "on" if entry.default else "off"
    return f"{entry.default:.10g}" if entry.kind is float else str(entry.default)


def _epilog(program: Program) -> str:
    commands = [(f"{program.name} {name}", command.help) for name, command in program.commands.items()]
    sections = [("commands:", commands)] if commands else []
    return "\n\n".join(
        "\n".join([title, *(f"  {command}\n      {explained}" for command, explained in entries)])
        for title, entries in [*sections, ("examples:", program.examples)]
    )


def _from_file(path: Path, options: list[Option]) -> dict[Option, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"cannot read the configuration file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}") from error
    known = {(entry.component, entry.name): entry for entry in options}
    values: dict[Option, Any] = {}
    for component, table in tables.items():
        for name, value in (table if isinstance(table, dict) else {component: table}).items():
            entry = known.get((component, name))
            if entry is None:
                raise UsageError(f"{path}: unknown option [{component}] {name}")
            values[entry] = _checked(f"{path}: [{component}] {name}", entry.accept, value)
    return values


def _from_environment(prefix: str, environment: Mapping[str, str], options: list[Option]) -> dict[Option, Any]:
    names = {prefix + entry.name.upper(): entry for entry in options}
    for variable in sorted(environment):
        if variable.startswith(prefix) and variable not in names and variable != prefix + "CONFIG":
            raise UsageError(f"unknown environment variable {variable}")
    return {
        entry: _checked(variable, entry.parse, environment[variable])
        for variable, entry in names.items()
        if variable in environment
    }


def _from_flags(flags: argparse.Namespace, options: list[Option]) -> dict[Option, Any]:
    values: dict[Option, Any] = {}
    for entry in options:
        if hasattr(flags, entry.name):
            given = getattr(flags, entry.name)
            if isinstance(given, list):  # argparse makes one of --flag=--
                raise UsageError(f"{entry.flag}: expected one argument")
            values[entry] = given if isinstance(given, bool) else _checked(entry.flag, entry.parse, given)
    return values


def _checked(where: str, convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _field_of(entry: Option) -> str:
    return f"{entry.name}_" if keyword.iskeyword(entry.name) else entry.name


def _build(kind: type[T], program: Program, values: dict[Option, Any]) -> T:
    components = {}
    for component, component_kind in get_type_hints(kind).items():
        given = {_field_of(entry): value for entry, value in values.items() if entry.component == component}
        try:
            components[component] = component_kind(**given)
        except ValueError as error:
            where = "" if "--" in str(error) else f"[{component}] "
            raise UsageError(f"{where}{error}; see {program.name} --help") from error
    return kind(**components)
