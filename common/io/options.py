"""Options of a daemon: fields of frozen dataclasses, one for each component, made by `option`.

An option is a `str`, `int`, `float`, `bool`, `Path`, `Address`, `Addresses` or a `Literal` of strings, one of these `|
None`, or a `tuple` of any number of one of them, whose flag is given once for each. A field that is not made by
`option` is none: the program varies it, and nobody else. A component checks itself in `__post_init__` and raises
`ValueError`. An address may leave out the host or the port if its field has a default address, which completes it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from common.io.addresses import Address, Addresses

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
        if self.kind in (Address, Addresses):
            return self.kind.parse(text, self.default)
        return self.kind(text)


_KIND_NAMES = {int: "a whole number", float: "a number"}
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
