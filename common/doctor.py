"""What `sender doctor` and `receiver doctor` share: each check runs code of the daemon, and its errors are findings."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

from common.errors import BodywireError, OutputError, exit_code_of
from common.io.addresses import Address, bound_socket
from common.io.command_line import Program, read_config
from common.io.startup import announce, open_standard_streams
from common.text import printable
from common.wire.certificates import CertificateFiles, certificates_in

_MAX_CHARACTERS = 600
_SOON = timedelta(days=14)

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Args:
        verdict: a warning does not keep the daemon from working, but maybe not as wanted; with a problem it would end.
        found: what was found, and what to do about it.
        exit_code: of a problem, the one that the daemon would end with; otherwise 0.
    """

    check: str
    verdict: Literal["ok", "warning", "problem"]
    found: str
    exit_code: int = 0

    def line(self) -> str:
        """The finding as one printable line."""
        return f"{self.verdict:<8} {self.check}: {printable(' '.join(self.found.split()), _MAX_CHARACTERS)}"


class Doubt(Exception):
    """A check found something that does not keep the daemon from starting; the message says what to do."""


Check = tuple[str, Callable[[], str]]
"""A check's name, and what makes it: it returns what is fine, or raises `Doubt` or the daemon's `BodywireError`."""


def doctor_program(daemon: str, subject: str, examples: Sequence[tuple[str, str]]) -> Program:
    """The command line of a daemon's doctor, which checks a subject; examples as in `Program`."""
    description = (
        f"Checks what the {daemon} needs, with the {daemon}'s own options: {subject}.\n"
        "Prints a line for each check: ok, warning or problem, what was found, and what to do.\n"
        f"Ends with 0 or the exit code that the {daemon} would end with."
    )
    return Program(f"{daemon} doctor", description, examples)


def run_doctor(
    program: Program,
    kind: type[Config],
    checks: Callable[[Config], Iterator[Check]],
    arguments: Sequence[str],
) -> int:
    """Runs the checks of a configuration, and returns the exit code: of the first problem, or 0.

    Prints a line for each finding at once.

    Args:
        kind: the daemon's configuration.
        checks: in the order in which the daemon would come upon the problems.
    """
    open_standard_streams()
    # What a library logs or warns of would stand between the findings.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    codes: list[int] = []

    def work() -> None:
        for name, check in checks(read_config(kind, program, arguments)):
            finding = _made(name, check)
            announce(finding.line())
            if finding.exit_code:
                codes.append(finding.exit_code)
        announce(f"the {program.daemon} " + (f"would end with exit code {codes[0]}" if codes else "can run"))

    return exit_code_of(program.name, work) or next(iter(codes), 0)


def _made(name: str, check: Callable[[], str]) -> Finding:
    """The finding of a check; what is no error of Bodywire only means that it could not be made."""
    try:
        return Finding(name, "ok", check())
    except Doubt as doubt:
        return Finding(name, "warning", str(doubt))
    except BodywireError as error:
        return Finding(name, "problem", str(error), error.exit_code)
    except ImportError as error:
        found = f"a package cannot be loaded ({error}): install Bodywire again"
        return Finding(name, "problem", found, BodywireError.exit_code)
    except Exception as error:
        return Finding(name, "warning", f"cannot be checked ({type(error).__name__}: {error})")


def check_expiry(certificate: Path | None, key: Path | None, authority: Path | None) -> str:
    """How long the certificates of `--tls-cert` and `--tls-ca` are valid.

    Raises:
        Doubt: one expires soon.
        UsageError: a file cannot be used.
    """
    files = CertificateFiles(certificate, key, authority).read()
    given = ((files.certificate, "--tls-cert"), (files.authority, "--tls-ca"))
    ends = [(certificates_in(pem, flag)[0].not_valid_after_utc, flag) for pem, flag in given if pem is not None]
    if not ends:
        return "no certificates"
    end, flag = min(ends)
    if end - datetime.now(UTC) < _SOON:
        raise Doubt(f"{flag} expires on {end:%Y-%m-%d}: issue a new one (deploy/certs/issue.sh)")
    return f"{flag} valid until {end:%Y-%m-%d}"


def check_free(address: Address, flag: str) -> str:
    """Whether a server can listen on an address, bound for a moment; raises OutputError."""
    try:
        bound_socket(address).close()
    except OSError as error:
        raise OutputError(f"cannot listen on {address} ({error.strerror}): give {flag} a free host:port") from error
    return f"{address} is free"


def check_makeable(folder: Path, flag: str) -> str:
    """Whether a folder that does not exist yet can be made; raises OutputError."""
    place = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} cannot be made in {place}: choose another {flag}, or change its permissions")
    return f"{folder} does not exist yet and can be made"
