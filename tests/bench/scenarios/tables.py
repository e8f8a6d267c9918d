"""What scenarios have measured as the documents' tables and charts; of several runs, the range of each figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.charts import draw

Run = Mapping[str, Sequence[Mapping[str, Any]]]
"""`scenario_a` and `scenario_b` of the JSON."""

_A = {
    "bytes": "{bytes_per_mesh:,.0f}",
    "meshes after": "{total_s:.1f} s",
    "delay p50; p95": "{delay_p50_s:.2f}; {delay_p95_s:.2f} s",
    "MPJPE": "{mpjpe_mm:.1f} mm",
    "MSE": "{view_mse:.4f}",
    "SSIM": "{view_ssim:.3f}",
}
_B = "{age_p50_ms:.0f}; {age_p95_ms:.0f} ms, {shown_error_mm:.0f} mm, {kbps:.0f} kbit/s"
_PANELS = (
    {"total_s": "total time, s", "bytes_per_mesh": "bytes a mesh, until then"},
    {
        "age_p50_ms": "age, ms, median",
        "shown_error_mm": "error of joints shown, mm",
    },
)


class _Range(list[float]):
    """A figure of each run."""

    def __format__(self, form: str) -> str:
        return "–".join(dict.fromkeys(format(end, form) for end in (min(self), max(self))))


def tables(runs: Sequence[Run]) -> str:
    """Scenario A's figures at most models, and B's at every second capacity, as Markdown."""
    a, b = _collected(runs, "scenario_a", "models"), _collected(runs, "scenario_b", "capacity_kbps")
    rows_a = [["A", *_A]]
    rows_a += [[name, *(cell.format_map(rows[max(rows)]) for cell in _A.values())] for name, rows in a.items()]
    shown = [*next(iter(b.values()), {})][::2]
    rows_b = [["B", *(f"{kbps} kbit/s" for kbps in shown)]]
    rows_b += [[name, *(_B.format_map(rows[kbps]) for kbps in shown)] for name, rows in b.items()]
    return f"{report.markdown(rows_a)}\n\n{report.markdown(rows_b)}"


def charts(runs: Sequence[Run], folder: Path) -> None:
    """Means of the runs. Raises as `draw` does."""
    for scenario, x, unit, labels in zip("ab", ("models", "capacity_kbps"), ("models", "kbit/s"), _PANELS, strict=True):
        found = _collected(runs, f"scenario_{scenario}", x).items()
        panels = {
            label: {name: [(at, sum(row[key]) / len(row[key])) for at, row in rows.items()] for name, rows in found}
            for key, label in labels.items()
        }
        draw(folder / f"scenario-{scenario}.png", f"scenario {scenario.upper()}", unit, panels)


def _collected(runs: Sequence[Run], scenario: str, x: str) -> dict[str, dict[int, dict[str, _Range]]]:
    """System → models or kbit/s → figures."""
    found: dict[str, dict[int, dict[str, _Range]]] = {}
    for row in (row for run in runs for row in run[scenario]):
        figures = found.setdefault(row["system"], {}).setdefault(row[x], {})
        for key in row.keys() - {"system", x}:
            figures.setdefault(key, _Range()).append(float("nan") if row[key] is None else row[key])
    return found
