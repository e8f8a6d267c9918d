"""promtool accepts configuration and rules, and the alerts fire when they have to."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.queries import DEPLOY, rules

PROMETHEUS = DEPLOY / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
@pytest.mark.parametrize("name", ["prometheus.yml", "pool.yml"])
def test_configuration_is_valid(name: str) -> None:
    assert "2 rule files found" in promtool("check", "config", PROMETHEUS / name)


@needs_promtool
def test_rules_are_valid() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted((PROMETHEUS / "rules").glob("*.yml")))


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.name))
def test_rules_do_what_their_tests_say(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    text = (PROMETHEUS / "tests" / "alerts.yml").read_text(encoding="utf-8")
    firing = set(re.findall(r"- alertname: (\w+)\n\s+eval_time: \w+\n\s+exp_alerts:\n\s+- exp_labels", text))
    assert firing == {rule["alert"] for rule in rules() if "alert" in rule}


def test_every_recorded_series_has_a_test_or_an_alert() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS]
    texts += [rule["expr"] for rule in rules() if "alert" in rule]
    recorded = [rule["record"] for rule in rules() if "record" in rule]
    assert [name for name in recorded if not any(name in text for text in texts)] == []


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"].endswith(".")
