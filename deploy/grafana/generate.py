"""Writes Bodywire's Grafana dashboards: `python -m deploy.grafana.generate [DIRECTORY]`, or `make dashboards`.

The files in `deploy/grafana/dashboards` are generated from `dashboards.yaml` and are not edited.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

SOURCE = Path(__file__).with_name("dashboards.yaml")
DIRECTORY = Path(__file__).with_name("dashboards")
DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="prometheus")
"""As `provisioning/datasources/prometheus.yaml` names it."""
ROW_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `dashboards.yaml` says what its fields mean."""

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    steps: Sequence[Any] = ("green",)
    kind: Literal["curves", "stack", "number"] = "curves"
    limits: tuple[float | None, float | None] = (0, None)
    width: int = 12
    decimals: int | None = None

    @property
    def height(self) -> int:
        """In rows of Grafana's grid."""
        return 4 if self.kind == "number" else 8


def files() -> Mapping[str, str]:
    """The content of each file by its name."""
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    pages = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    return {f"{page['uid']}.json": encoder.encode(dashboard_from(page)) + "\n" for page in pages}


def dashboard_from(page: Mapping[str, Any]) -> model.Dashboard:
    """A page of `dashboards.yaml` in Grafana's model."""
    built = (
        dashboard.Dashboard(page["title"])
        .uid(f"bodywire-{page['uid']}")
        .description(page["description"])
        .tags(["bodywire"])
        .timezone("browser")
        .refresh("5s")
        .time("now-15m", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(_instances("sender", "bodywire_sender_connected"))
        .with_variable(_instances("receiver", "bodywire_receiver_peers"))
        .link(dashboard.DashboardLink("Bodywire").type(model.DashboardLinkType.DASHBOARDS).tags(["bodywire"]))
    )
    x = y = row_height = 0
    for number, panel in enumerate((Panel(**fields) for fields in page["panels"]), start=1):
        if x + panel.width > ROW_WIDTH:
            x, y, row_height = 0, y + row_height, 0
        position = model.GridPos(h=panel.height, w=panel.width, x=x, y=y)
        # The builder moves a panel at the origin to where it thinks the next one belongs, which is the origin at first.
        built.with_panel(_panel(panel).id(number).grid_pos(position))
        x, row_height = x + panel.width, max(row_height, panel.height)
    return built.build()


def _instances(name: str, metric: str) -> Builder[model.VariableModel]:
    """A variable with the instances that export a metric; all of them unless chosen."""
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query(f"label_values({metric}, instance)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel:
    built = _number() if panel.kind == "number" else _curves(panel)
    built.title(panel.title).description(panel.description).unit(panel.unit).datasource(DATASOURCE)
    first, *rest = panel.steps
    steps = [model.Threshold(value=limit, color=colour) for limit, colour in ((None, first), *rest)]
    built.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    low, high = panel.limits
    if low is not None:
        built.min(low)
    if high is not None:
        built.max(high)
    if panel.decimals is not None:
        built.decimals(panel.decimals)
    for letter, (legend, expression) in zip("ABCDEFGHIJ", panel.queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        built.with_target(query.datasource(DATASOURCE))
    return built


def _curves(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(40 if panel.kind == "stack" else 8)
        .show_points(common_model.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.LIST)
            .placement(common_model.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull"])
        )
    )
    if panel.kind == "stack":
        built.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
    if len(panel.steps) > 1:
        mode = common_model.GraphTresholdsStyleMode.DASHED
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(mode))
    return built


def _number() -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common_model.BigValueGraphMode.AREA)
        .color_mode(common_model.BigValueColorMode.VALUE)
    )


def main(arguments: Sequence[str]) -> None:
    """Writes the files into the directory that is given, or where they belong."""
    directory = Path(arguments[0]) if arguments else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")
        print(f"wrote {directory / name}")


if __name__ == "__main__":
    main(sys.argv[1:])
