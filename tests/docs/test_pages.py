"""Links, commands, modules and exit codes in README, CONTRIBUTING and docs are real."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import errors
from common.errors import INTERRUPTED, BodywireError
from common.io.command_line import read_config
from tests.docs.configuration_reference import PROGRAMS

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").glob("*.md")]
    )
}


def anchor(heading: str) -> str:
    """The fragment under which GitHub shows a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(text: str) -> list[str]:
    """Targets of the links to files of the repository and to headings."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not target.startswith(("http://", "https://"))]


COMMAND = re.compile(r"^    (?:bodywire/bin/)?((?:sender|receiver)(?: doctor)?(?: +[-#&].*)?)$", re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of the daemons in code blocks, split into words."""
    for line in COMMAND.findall(text):
        yield shlex.split(re.sub(r" +[&#>].*", "", line))


def modules(text: str) -> list[str]:
    """Modules that are run by `python -m`."""
    return re.findall(r"python -m ((?:common|sender|receiver|tests)(?:\.[a-z]\w*)*)", text)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in links(PAGES[page]):
        path, _, fragment = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, target


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_valid(page: str) -> None:
    for program, *flags in commands(PAGES[page]):
        if not {"--config", "--help", "--version"} & set(flags):
            description, config = PROGRAMS[program]
            read_config(config, description, flags[flags[:1] == ["doctor"] :], {})


@pytest.mark.parametrize("page", PAGES)
def test_modules_exist(page: str) -> None:
    for module in [*modules(PAGES[page]), *re.findall(r"`(tests\.(?:bench|docs)\.[a-z]\w*)`", PAGES[page])]:
        assert importlib.util.find_spec(module), module


def test_packages_do_not_import_their_commands() -> None:
    """Otherwise `python -m` warns that the module is imported already."""
    named = sorted({module for text in PAGES.values() for module in modules(text) if "." in module})
    script = (
        "import importlib, sys\n"
        f"for module in {named}:\n"
        "    importlib.import_module(module.rpartition('.')[0])\n"
        "    assert module not in sys.modules, module\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_commands_are_found() -> None:
    assert sum(len(list(commands(text))) for text in PAGES.values()) > 20


def test_troubleshooting_has_every_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BodywireError)]
    codes = {0, INTERRUPTED, *(kind.exit_code for kind in kinds)}
    page = PAGES["docs/troubleshooting.md"]
    assert {int(code) for code in re.findall(r"^\| \[?(\d+)\b", page, flags=re.MULTILINE)} == codes
