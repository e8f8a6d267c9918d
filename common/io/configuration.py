"""Configuration of a daemon: flags over environment over file over defaults.

Each component has a frozen dataclass beside it whose fields are made by `option`; a daemon's configuration is a
dataclass of such components. The field `focal_px` of the component `capture` is then

    --focal-px 900                       on the command line,
    BODYWIRE_SENDER_FOCAL_PX=900         in the environment of `sender`,
    [capture]                            in the TOML file that --config names.
    focal_px = 900

A field is a `str`, `int`, `float`, `bool`, `Path`, `Literal` of strings or a class with a `parse(text)` class method,
or one of these `| None`. A component checks itself in `__post_init__` and raises `ValueError`.
"""

import argparse
import dataclasses
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from common.errors import UsageError

T = TypeVar("T")

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def option(default: Any, *, help: str) -> Any:
    """A field of a component's configuration with its default and the line that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class _Option:
    component: str
    name: str
    kind: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parse(self, text: str) -> Any:
        """Text from a flag or the environment as a value of `kind`; raises ValueError."""
        if get_origin(self.kind) is Literal:
            if text not in get_args(self.kind):
                raise ValueError(f"{text!r} is none of {', '.join(get_args(self.kind))}")
            return text
        if self.kind is bool:
            if text.lower() not in _WORDS:
                raise ValueError(f"{text!r} is none of {', '.join(_WORDS)}")
            return _WORDS[text.lower()]
        if self.kind in (int, float):
            return _number(text, self.kind)
        return self.kind.parse(text) if hasattr(self.kind, "parse") else self.kind(text)

    def accept(self, value: Any) -> Any:
        """A value from a TOML file, of the type that TOML gives it; raises ValueError."""
        if self.kind in (bool, int, float):
            fits = isinstance(value, (int, float) if self.kind is float else self.kind)
            if not fits or (isinstance(value, bool) and self.kind is not bool):
                raise ValueError(f"{value!r} is not {_KIND_NAMES[self.kind]}")
            return self.kind(value)
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text in quotes")
        return self.parse(value)


_KIND_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


def _number(text: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {_KIND_NAMES[kind]}") from None


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing its usage, so that a wrong flag is one line like any other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def read_config(
    kind: type[T],
    program: str,
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Builds a daemon's configuration, a dataclass of components, from all four places.

    Args:
        kind: the dataclass; its docstring's first line is the description in `--help`.
        program: `sender` or `receiver`; names the environment variables too.
        arguments: flags, without the program's name; the process's own by default.
        environment: the process's own by default.

    Raises:
        UsageError: an unknown flag or key, a value that does not parse or that a component refuses, a file that cannot
            be read.
    """
    options = _options(kind)
    environment = os.environ if environment is None else environment
    flags = _parser(kind, program, options).parse_args(arguments)
    prefix = f"BODYWIRE_{program.upper()}_"
    path = flags.config or environment.get(prefix + "CONFIG")
    values = _from_file(Path(path), options) if path else {}
    values |= _from_environment(prefix, environment, options)
    values |= _from_flags(flags, options)
    return _build(kind, values)


def _options(kind: type[Any]) -> list[_Option]:
    options: list[_Option] = []
    for component, component_kind in get_type_hints(kind).items():
        hints = get_type_hints(component_kind)
        for field in dataclasses.fields(component_kind):
            helped = field.metadata.get("help", "")
            options.append(_Option(component, field.name, _bare(hints[field.name]), field.default, helped))
    names = [entry.name for entry in options]
    if len(set(names)) != len(names):
        raise ValueError(f"two components of {kind.__name__} share an option: {sorted(names)}")
    return options


def _bare(hint: Any) -> Any:
    """`X | None` as X."""
    alternatives = [each for each in get_args(hint) if each is not NoneType]
    return alternatives[0] if NoneType in get_args(hint) and len(alternatives) == 1 else hint


def _parser(kind: type[Any], program: str, options: list[_Option]) -> _Parser:
    description = (kind.__doc__ or "").splitlines()[0] if kind.__doc__ else None
    # SUPPRESS leaves out what was not given, so that the environment and the file can speak.
    parser = _Parser(program, description=description, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", default=None, help="read options from this TOML file")
    parser.add_argument("--version", action="version", version=f"{program} {version('bodywire')}")
    groups: dict[str, Any] = {}
    for entry in options:
        group = groups.setdefault(entry.component, None) or parser.add_argument_group(entry.component)
        groups[entry.component] = group
        shown = (entry.help + ("" if entry.default is None else f" (default: {entry.default})")).replace("%", "%%")
        if entry.kind is bool:
            group.add_argument(entry.flag, action=argparse.BooleanOptionalAction, help=shown)
        else:
            choices = "{" + ",".join(get_args(entry.kind)) + "}" if get_origin(entry.kind) is Literal else None
            group.add_argument(entry.flag, metavar=choices or entry.name.upper(), help=shown)
    return parser


def _from_file(path: Path, options: list[_Option]) -> dict[_Option, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"cannot read the configuration file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}") from error
    known = {(entry.component, entry.name): entry for entry in options}
    values: dict[_Option, Any] = {}
    for component, table in tables.items():
        for name, value in (table if isinstance(table, dict) else {component: table}).items():
            entry = known.get((component, name))
            if entry is None:
                raise UsageError(f"{path}: unknown option [{component}] {name}")
            values[entry] = _checked(f"{path}: [{component}] {name}", entry.accept, value)
    return values


def _from_environment(prefix: str, environment: Mapping[str, str], options: list[_Option]) -> dict[_Option, Any]:
    names = {prefix + entry.name.upper(): entry for entry in options}
    for variable in sorted(environment):
        if variable.startswith(prefix) and variable not in names and variable != prefix + "CONFIG":
            raise UsageError(f"unknown environment variable {variable}")
    return {
        entry: _checked(variable, entry.parse, environment[variable])
        for variable, entry in names.items()
        if variable in environment
    }


def _from_flags(flags: argparse.Namespace, options: list[_Option]) -> dict[_Option, Any]:
    values: dict[_Option, Any] = {}
    for entry in options:
        if hasattr(flags, entry.name):
            given = getattr(flags, entry.name)
            values[entry] = given if isinstance(given, bool) else _checked(entry.flag, entry.parse, given)
    return values


def _checked(where: str, convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _build(kind: type[T], values: dict[_Option, Any]) -> T:
    components = {}
    for component, component_kind in get_type_hints(kind).items():
        given = {entry.name: value for entry, value in values.items() if entry.component == component}
        try:
            components[component] = component_kind(**given)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return kind(**components)
