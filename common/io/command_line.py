"""The command lines and configurations of both daemons: options are fields of frozen dataclasses, made by `option`.

An option is a `str`, `int`, `float`, `bool`, `Path`, `Address` or a `Literal` of strings, one of these `| None`, or a
`tuple` of any number of one of them, whose flag is given once for each. A field that is not made by `option` is none:
the program varies it, and nobody else. A component checks itself in `__post_init__` and raises `ValueError`. An address
may leave out the host or the port if its field has a default address, which completes it.

Configuration of a daemon from flags, environment variables, a TOML file and defaults, in this order of precedence.

Each component has a frozen dataclass whose fields are made by `option`; a daemon's configuration is a dataclass of such
components. The field `focal_px` of the component `capture` is then

    --focal-px 900                       on the command line,
    BODYWIRE_SENDER_FOCAL_PX=900         in the environment of `sender`,
    [capture]                            in the TOML file that --config names.
    focal_px = 900

An option that may be given several times is an array in the file, and has a line for each value in the environment.
The field of an option whose name is a word of Python, such as `from`, ends with an underscore.
"""

import argparse
import dataclasses
import difflib
import keyword
import math
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from common.errors import UsageError
from common.io.addresses import Address
from common.text import printable

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def option(default: Any, *, help: str, formerly: str = "", advanced: bool = False) -> Any:
    """A field of a component's configuration.

    Args:
        default: the field's value unless configured.
        help: the description in `--help`, with the unit of a number.
        formerly: an earlier option whose place it has taken.
        advanced: only `--help-all` has it.
    """
    return dataclasses.field(default=default, metadata={"help": help, "formerly": formerly, "advanced": advanced})


@dataclass(frozen=True, slots=True)
class Option:
    """One configurable field.

    Args:
        component: the field of the daemon's configuration that it belongs to, which is also its TOML table.
        kind: the field's type, without `| None`; of a tuple, that of its elements.
        repeats: whether it is a tuple.
    """

    component: str
    name: str
    kind: Any
    repeats: bool
    default: Any
    help: str
    formerly: str = ""
    advanced: bool = False

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
        """One text from a flag, the environment or a file as a value of `kind`; raises ValueError."""
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
        if self.kind is Address:
            return Address.parse(text, self.default)
        return self.kind(text)


_KIND_NAMES = {int: "a whole number", float: "a number"}
_PLACEHOLDERS = {
    **{int: "N", float: "NUMBER", bool: "BOOL", str: "TEXT", Path: "PATH", Address: "HOST:PORT"},
}


def _number(text: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {_KIND_NAMES[kind]}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def options_of(kind: type[Any]) -> list[Option]:
    """The options of a daemon's configuration, component by component.

    Raises:
        ValueError: two components have an option of the same name.
    """
    options: list[Option] = []
    for component, component_kind in get_type_hints(kind).items():
        hints = get_type_hints(component_kind)
        for entry in filter(_is_option, dataclasses.fields(component_kind)):
            entry_kind = _without_none(hints[entry.name])
            repeats = get_origin(entry_kind) is tuple
            if repeats:
                entry_kind = get_args(entry_kind)[0]
            # `from_` is the option `from`.
            name = entry.name.removesuffix("_")
            options.append(Option(component, name, entry_kind, repeats, entry.default, **entry.metadata))
    names = [known.name for known in options]
    if len(set(names)) != len(names):
        raise ValueError(f"two components of {kind.__name__} share an option: {sorted(names)}")
    return options


def meant_now(options: Sequence[Option], name: str) -> str:
    """What to say behind a name that no option has: the flag that has taken its place, if there is one."""
    return next((f" (did you mean {entry.flag}?)" for entry in options if name and entry.formerly == name), "")


def _is_option(entry: dataclasses.Field[Any]) -> bool:
    return "help" in entry.metadata


def component_summary(kind: type[Any], component: str) -> str:
    """The first paragraph of a component's docstring, on one line."""
    return " ".join((get_type_hints(kind)[component].__doc__ or "").partition("\n\n")[0].split())


def _without_none(hint: Any) -> Any:
    """`X | None` as X."""
    alternatives = [kind for kind in get_args(hint) if kind is not NoneType]
    return alternatives[0] if NoneType in get_args(hint) and len(alternatives) == 1 else hint


def describe_default(entry: Option) -> str:
    """An option's default as one would write it."""
    if entry.kind is bool:
        return "on" if entry.default else "off"
    if entry.repeats:
        return ", ".join(map(str, entry.default))
    return f"{entry.default:.10g}" if entry.kind is float else str(entry.default)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a program, given as its first argument, as `--help` shows it.

    Args:
        help: what it does.
        module: has its `main`, which takes the arguments behind the name and returns the exit code.
    """

    help: str
    module: str


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, as `--help` and `--version` show it.

    Args:
        name: `sender` or `receiver`, maybe followed by a command; the first word names the environment variables.
        description: one or two sentences.
        examples: command and explanation of each.
        commands: by name.
        bare: name of the option that an argument without a flag sets: `sender 0` is `sender --camera 0`.
    """

    name: str
    description: str
    examples: Sequence[tuple[str, str]]
    commands: Mapping[str, Command] = field(default_factory=dict)
    bare: str | None = None

    @property
    def daemon(self) -> str:
        """`sender` or `receiver`."""
        return self.name.split()[0]

    @property
    def environment_prefix(self) -> str:
        return f"BODYWIRE_{self.daemon.upper()}_"


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


T = TypeVar("T")
_MAX_BYTES = 1_000_000
_BARE = "bare argument"


def read_config(
    kind: type[T],
    program: Program,
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Builds a daemon's configuration, a dataclass of components, from all four sources.

    Args:
        arguments: flags without the program's name; by default those of the process.
        environment: environment variables; by default those of the process.

    Raises:
        UsageError: an unknown flag, variable or key, a value that does not parse or is out of range, or a file that
            cannot be read.
    """
    options = options_of(kind)
    environment = os.environ if environment is None else environment
    flags = _parsed(kind, program, arguments)
    prefix = program.environment_prefix
    path = flags.config or environment.get(prefix + "CONFIG")
    values = _from_file(Path(path), options) if path else {}
    values |= _from_environment(prefix, environment, options)
    values |= _from_flags(flags, options)
    # Absolute once: no other process and no other working directory makes another path of it.
    given = {entry: values.get(entry, entry.default) for entry in options}
    values |= {entry: value.absolute() for entry, value in given.items() if isinstance(value, Path)}
    return _build(kind, program, values)


def _parsed(kind: type[Any], program: Program, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(kind, program)
    if program.bare is not None:
        parser.add_argument(_BARE, nargs="?", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    given = getattr(flags, _BARE, None)
    if given is not None and program.bare is not None:
        if hasattr(flags, program.bare):
            flag = getattr(flags, program.bare)
            other = flag[0] if isinstance(flag, list) else flag
            raise UsageError(f"{given} and --{program.bare} {other}: give one of them")
        setattr(flags, program.bare, given)
    return flags


def _from_file(path: Path, options: list[Option]) -> dict[Option, Any]:
    try:
        with open(path, "rb") as file:  # also a pipe, such as <(…) of a shell
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UsageError(f"the configuration file {path} has more than {_MAX_BYTES} bytes")
        tables = tomllib.loads(content.decode())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"cannot read the configuration file {path}: {reason}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}") from error
    known = {(entry.component, entry.name): entry for entry in options}
    values: dict[Option, Any] = {}
    for component, table in tables.items():
        for name, value in (table if isinstance(table, dict) else {component: table}).items():
            entry = known.get((component, name))
            if entry is None:
                raise UsageError(f"{path}: unknown option [{component}] {name}{meant_now(options, name)}")
            values[entry] = _parsed_as(entry, f"{path}: [{component}] {name}", value)
    return values


def _from_environment(prefix: str, environment: Mapping[str, str], options: list[Option]) -> dict[Option, Any]:
    names = {prefix + entry.name.upper(): entry for entry in options}
    for variable in sorted(environment):
        if variable.startswith(prefix) and variable not in names and variable != prefix + "CONFIG":
            now = meant_now(options, variable.removeprefix(prefix).lower())
            raise UsageError(f"unknown environment variable {variable}{now}")
    return {
        entry: _parsed_as(
            entry, variable, environment[variable].splitlines() if entry.repeats else environment[variable]
        )
        for variable, entry in names.items()
        if variable in environment
    }


def _from_flags(flags: argparse.Namespace, options: list[Option]) -> dict[Option, Any]:
    values: dict[Option, Any] = {}
    for entry in options:
        if hasattr(flags, entry.name):
            given = getattr(flags, entry.name)
            texts = given if entry.repeats and isinstance(given, list) else [given]
            if any(isinstance(text, list) for text in texts):  # argparse makes one of --flag=--
                raise UsageError(f"{entry.flag}: expected one argument")
            values[entry] = _parsed_as(entry, entry.flag, given)
    return values


def _parsed_as(entry: Option, where: str, given: Any) -> Any:
    """The value of an option; of one that repeats, all of them."""
    texts = given if entry.repeats and isinstance(given, list) else [given]
    try:
        values = tuple(entry.parse(str(text)) for text in texts)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return values if entry.repeats else values[0]


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
