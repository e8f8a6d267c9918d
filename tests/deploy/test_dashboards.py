"""The generated dashboards: up to date, complete, and without a metric that does not exist."""

import json
import re

from deploy.grafana.generate import DIRECTORY, ROW_WIDTH, files
from tests.deploy.queries import metric_names
from tests.docs.test_metrics import exported, registry_of

FILES = files()
PANELS = [(name, panel) for name, text in FILES.items() for panel in json.loads(text)["panels"]]


def overlaps(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_committed_files_are_generated() -> None:
    """After a change: `make dashboards`."""
    assert {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")} == FILES


def test_uids_and_titles_are_unique() -> None:
    documents = [json.loads(text) for text in FILES.values()]
    assert len({document["uid"] for document in documents}) == len(documents)
    assert len({document["title"] for document in documents}) == len(documents)


def test_panels_are_complete() -> None:
    for name, panel in PANELS:
        place, defaults = f"{name}: {panel['title']}", panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), place
        assert defaults["unit"], place
        assert defaults["thresholds"]["steps"][0]["value"] is None, place
        assert panel["targets"], place
        assert all(target["legendFormat"] for target in panel["targets"]), place
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}, place


def test_panels_do_not_overlap() -> None:
    for name, text in FILES.items():
        positions = [panel["gridPos"] for panel in json.loads(text)["panels"]]
        assert all(position["x"] + position["w"] <= ROW_WIDTH for position in positions), name
        for number, position in enumerate(positions):
            assert not any(overlaps(position, other) for other in positions[:number]), name


def test_queries_name_existing_metrics() -> None:
    existing = {name for program in ("sender", "receiver", "web") for name, _ in exported(registry_of(program))}
    used = {name for _, panel in PANELS for target in panel["targets"] for name in metric_names(target["expr"])}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in used} <= existing


def test_every_metric_is_on_a_dashboard() -> None:
    existing = {name for program in ("sender", "receiver", "web") for name, _ in exported(registry_of(program))}
    shown = " ".join(target["expr"] for _, panel in PANELS for target in panel["targets"])
    assert [name for name in sorted(existing) if name not in shown] == []
