from importlib.metadata import PackageNotFoundError

import pytest

from common.doctor.finding import Verdict
from common.doctor.packages import check_messages, check_packages, check_python

INSTALLED = {"bodywire": "0.1.0", "numpy": "2.1.0", "torch": "2.11.0+cpu", "uvicorn": "0.50", "opencv-python": "4.12"}


def version(name: str) -> str:
    try:
        return INSTALLED[name]
    except KeyError:
        raise PackageNotFoundError(name) from None


def test_requirements() -> None:
    for requirement, fault in (
        ("numpy>=2.0", ""),
        ("numpy (>=2.0,<3)", ""),
        ("torch>=2.11", ""),
        ("torch<2.11.1,!=2.10", ""),
        ("uvicorn==0.50.0", ""),
        ("uvicorn[standard]>=0.9", ""),
        ("psycopg[binary]>=3.3; extra == 'postgres'", ""),
        ("opencv-python-headless>=4.10", ""),
        ("numpy>=2.2,<3", "numpy is 2.1.0, needed <3,>=2.2"),
        ("torch<2.11", "torch is 2.11.0+cpu, needed <2.11"),
    ):
        finding = check_packages(lambda _, requirement=requirement: [requirement], version)  # type: ignore[misc]
        verdict = Verdict.WARNING if fault else Verdict.OK
        assert finding.verdict is verdict, requirement
        assert not fault or finding.found == fault


def test_missing_packages() -> None:
    finding = check_packages(lambda _: ["rich>=14", "numpy>=9", "av"], version)
    assert (finding.verdict, finding.found, finding.exit_code) == (Verdict.PROBLEM, "missing: rich, av", 1)


def test_sources_that_are_not_installed() -> None:
    def missing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    assert check_packages(missing, version).verdict is Verdict.WARNING


def test_this_installation() -> None:
    assert check_packages().verdict is not Verdict.PROBLEM
    assert check_messages().verdict is Verdict.OK
    assert check_python().verdict is Verdict.OK


def test_old_python() -> None:
    assert check_python((3, 10)).verdict is Verdict.PROBLEM


@pytest.mark.parametrize("error", [ImportError("No module named 'semantic_link_pb2'"), RuntimeError("old runtime")])
def test_messages_that_cannot_be_used(error: Exception) -> None:
    def load(name: str) -> object:
        raise error

    finding = check_messages(load)
    assert finding.verdict is Verdict.PROBLEM
    assert str(error) in finding.found
