"""Configuration of a daemon from flags, environment variables, a TOML file and defaults, in this order of precedence.

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
import keyword
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from common.errors import UsageError
from common.io.command_line import command_parser
from common.io.options import Option, Program, meant_now, options_of

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
