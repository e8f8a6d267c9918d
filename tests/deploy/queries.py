"""The PromQL of dashboards, rules and alerts, as Prometheus gets it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules"

_VARIABLES = {"$sender": ".*", "$receiver": ".*", "$__rate_interval": "30s"}
_SELECTOR = re.compile(r"\b(?:instance\w*:)?bodywire_\w+(?::\w+)*(?:\{[^}]*\})?")


def metric_names(expression: str) -> set[str]:
    """The names of our metrics in an expression."""
    return set(re.findall(r"\bbodywire_\w+", expression))


def ray_metric_names(expression: str) -> set[str]:
    """The names of Ray's metrics in an expression."""
    return set(re.findall(r"\bray_\w+", expression))


def selectors(expression: str) -> list[str]:
    """What an expression reads of our metrics and recorded series, with the labels that it asks for."""
    return _SELECTOR.findall(expression)


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Place and expression of each query of the generated dashboards, with Grafana's variables replaced."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in _VARIABLES.items():
                    expression = expression.replace(variable, value)
                yield f"{path.stem}: {panel['title']}: {target['legendFormat']}", expression


def rules() -> Iterator[Mapping[str, Any]]:
    """Every recording and alert rule."""
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]
