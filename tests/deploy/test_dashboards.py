"""The generated dashboards: up to date, complete, and without a metric that does not exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.generate import DIRECTORY, PAGES, files, main
from deploy.grafana.panels import ROW_WIDTH, Page, Panel, build
from tests.deploy.queries import metric_names
from tests.docs.test_metrics import exported, registry_of

FILES = files()
PANELS = [(name, panel) for name, text in FILES.items() for panel in json.loads(text)["panels"]]
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]


def overlaps(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_committed_files_are_generated() -> None:
    """After a change: `make dashboards`."""
    assert {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")} == FILES


def test_command_writes_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path / "new")])
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(FILES)
    assert len(capsys.readouterr().out.splitlines()) == len(PAGES)


def test_uids_and_titles_are_unique() -> None:
    documents = [json.loads(text) for text in FILES.values()]
    assert len({document["uid"] for document in documents}) == len({document["title"] for document in documents})
    assert len({document["uid"] for document in documents}) == len(PAGES)


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=IDS)
def test_panel_is_complete(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["description"].endswith(".")
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"][0]["value"] is None
    assert panel["targets"]
    assert all(target["legendFormat"] for target in panel["targets"])
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}


@pytest.mark.parametrize("name", FILES)
def test_panels_do_not_overlap(name: str) -> None:
    positions = [panel["gridPos"] for panel in json.loads(FILES[name])["panels"]]
    assert all(position["x"] + position["w"] <= ROW_WIDTH for position in positions)
    for number, position in enumerate(positions):
        assert not any(overlaps(position, other) for other in positions[:number])


def test_queries_name_existing_metrics() -> None:
    existing = {name for program in ("sender", "receiver", "web") for name, _ in exported(registry_of(program))}
    used = {name for _, panel in PANELS for target in panel["targets"] for name in metric_names(target["expr"])}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in used} <= existing


def test_every_metric_is_on_a_dashboard() -> None:
    existing = {name for program in ("sender", "receiver", "web") for name, _ in exported(registry_of(program))}
    shown = " ".join(target["expr"] for _, panel in PANELS for target in panel["targets"])
    assert [name for name in sorted(existing) if name not in shown] == []


def pages_with(panels: int) -> Iterator[Page]:
    yield Page("p", "t", "d", [Panel("t", "d.", "s", [("up", "up")], width=8)] * panels)


def test_rows_are_filled_from_left_to_right() -> None:
    (page,) = pages_with(panels=4)
    positions = [panel.grid_pos for panel in build(page).panels or []]
    assert [(position.x, position.y) for position in positions if position] == [(0, 0), (8, 0), (16, 0), (0, 8)]
