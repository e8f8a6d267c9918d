"""Checks of the installation that import nothing large: Python, packages, generated messages."""

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata

from common.doctor.finding import Finding, ok, problem, warning
from common.errors import BodywireError

_MIN_PYTHON = (3, 11)
# A window for the preview needs the variant that is not headless.
_SUBSTITUTES = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")}
_REINSTALL = "install Bodywire again (make demo in a checkout)"


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether Python is new enough."""
    found = f"Python {version[0]}.{version[1]}"
    if version < _MIN_PYTHON:
        return problem("python", found, "install Python 3.11 or newer", BodywireError)
    return ok("python", found)


def check_packages(
    requirements: Callable[[str], Sequence[str] | None] = metadata.requires,
    version: Callable[[str], str] = metadata.version,
) -> Finding:
    """Whether each package that Bodywire requires is installed, in a version that was tested.

    Args:
        requirements: of an installed package, as its metadata has them.
        version: of an installed package; both raise `PackageNotFoundError`.
    """
    # Its own package may be missing; the finding then says so.
    from packaging.requirements import Requirement

    try:
        required = requirements("bodywire") or []
    except metadata.PackageNotFoundError:
        return warning("packages", "Bodywire runs from its sources without being installed", "python -m pip install .")
    missing, unfit, count = [], [], 0
    for text in required:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        installed = _installed(requirement.name, version)
        if installed is None:
            missing.append(requirement.name)
        elif not requirement.specifier.contains(installed, prereleases=True):
            unfit.append(f"{requirement.name} is {installed}, needed {requirement.specifier}")
    if missing:
        return problem("packages", f"missing: {', '.join(missing)}", _REINSTALL, BodywireError)
    if unfit:
        return warning("packages", "; ".join(unfit), _REINSTALL)
    return ok("packages", f"bodywire {version('bodywire')}, {count} required packages")


def check_messages(load: Callable[[str], object] = importlib.import_module) -> Finding:
    """Whether the code that is generated from `proto/` is there and fits the protobuf runtime."""
    try:
        load("common.wire.convert")
    # The runtime of protobuf and that of gRPC raise errors of their own when they are older than the generated code.
    except Exception as error:
        found = f"the generated messages cannot be used ({type(error).__name__}: {error})"
        return problem("messages", found, "make check generates them in a checkout; else reinstall", BodywireError)
    return ok("messages", "generated code and its runtime fit")


def _installed(name: str, version: Callable[[str], str]) -> str | None:
    """The version of a package, or of one that takes its place; None if there is none."""
    for candidate in (name, *_SUBSTITUTES.get(name, ())):
        with suppress(metadata.PackageNotFoundError):
            return version(candidate)
    return None
