"""Parts of the dashboards: a panel as data, and how it becomes one of Grafana's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="prometheus")
"""As `provisioning/datasources/prometheus.yaml` names it."""
ROW_WIDTH = 24

Steps = Sequence[tuple[float, str]]
"""Lower limits and the colours from there on; below the first one everything is green."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Args:
        title: what is shown.
        description: how to read it, for its tooltip.
        unit: Grafana's name of the unit.
        queries: PromQL and legend of each.
        steps: thresholds; without any, the panel has no colour of its own.
        first: colour below the first threshold.
        kind: curves, curves that are stacked, or the newest value in large digits.
        limits: of the axis; None where the data decide.
        width: in columns of 24.
        decimals: of the values.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    steps: Steps = ()
    first: str = "green"
    kind: Literal["curves", "stack", "number"] = "curves"
    limits: tuple[float | None, float | None] = (0, None)
    width: int = 12
    decimals: int | None = None

    @property
    def height(self) -> int:
        """In rows of Grafana's grid."""
        return 4 if self.kind == "number" else 8


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard.

    Args:
        uid: its stable name in URLs, and the name of its file.
        title: shown in the list of dashboards.
        description: the question that it answers.
        panels: from left to right, row by row.
    """

    uid: str
    title: str
    description: str
    panels: Sequence[Panel]


def build(page: Page) -> model.Dashboard:
    """The dashboard in Grafana's model; panels fill rows of 24 columns in their order."""
    built = (
        dashboard.Dashboard(page.title)
        .uid(f"bodywire-{page.uid}")
        .description(page.description)
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
    for number, panel in enumerate(page.panels, start=1):
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
    built = _number(panel) if panel.kind == "number" else _curves(panel)
    built.title(panel.title).description(panel.description).unit(panel.unit).datasource(DATASOURCE)
    built.thresholds(_thresholds(panel))
    low, high = panel.limits
    if low is not None:
        built.min(low)
    if high is not None:
        built.max(high)
    if panel.decimals is not None:
        built.decimals(panel.decimals)
    for number, (expression, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
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
    if panel.steps:
        mode = common_model.GraphTresholdsStyleMode.DASHED
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(mode))
    return built


def _number(panel: Panel) -> stat.Panel:
    del panel  # all numbers look alike
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common_model.BigValueGraphMode.AREA)
        .color_mode(common_model.BigValueColorMode.VALUE)
    )


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value=None, color=panel.first)]
    steps += [model.Threshold(value=limit, color=colour) for limit, colour in panel.steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
