"""Set before anything imports torch: tests share the machine, and none of them reads a developer's settings."""

import gc
import logging
import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# The machine is shared: an example may take any time.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# Tests ask this machine alone, which a developer's proxies do not reach.
for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[variable]


# What is imported stays: looking for garbage among it takes a third of the collection's time.
gc.disable()


def pytest_collection_finish() -> None:
    """Looks for the garbage of tests from now on, and of nothing before."""
    gc.freeze()
    gc.enable()


# Makes the frames of the demo clip, and with them body and networks for this machine, for which other files wait.
_FIRST = "tests/browser/test_live.py"
# Need none of these.
_LIGHT = ("tests/deploy/", "tests/docs/")
_UNIT = "tests/unit/"
# Longest of the unit tests: at the end, the other processes would wait for it.
_LONG = "tests/unit/sender/train/test_trainings.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the first file beside those that do not wait for it, and only then the others."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, bool, bool, bool]:
    path = item.nodeid
    return not path.startswith(_FIRST), not path.startswith(_LIGHT), path.startswith(_UNIT), not path.startswith(_LONG)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the variables that would configure a daemon."""
    for variable in list(os.environ):
        if variable.startswith(("BODYWIRE_SENDER_", "BODYWIRE_RECEIVER_")):
            monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def the_same_random_numbers_every_time() -> None:
    """Seeds torch's global generator: a test that draws from it passes always or never."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def no_log_of_earlier_tests() -> Iterator[None]:
    """Removes the handlers that a daemon's log added: their stream is closed when the test is over."""
    yield
    root = logging.getLogger()
    # Not those of pytest, which are of other kinds.
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)
