"""Every bench as a command: its help, and the keys of its JSON that others read."""

import importlib.util
import json
import re
from argparse import Namespace
from pathlib import Path

import pytest

import tests.bench
from tests.bench import report

FOLDER = Path(tests.bench.__file__).parent
COMMANDS = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if "report.flags(" in path.read_text(encoding="utf-8") and path.stem != "report"
)
# What evaluations read: keys and systems that these benches must go on to name.
KEYS = {
    "quality": """mpjpe_mm pa_mpjpe_mm pve_mm chamfer_surface_mm chamfer_body_mm p2s_surface_mm normal_consistency
        mask_iou watertight chamfer_bare_mm labels codec truth_labels mean_body""",
    "rate": "payload_bytes_median added_joint_error_mm added_chamfer_mm",
    "wire": "wire_bytes_median",
    "link": "age_p50_ms age_p95_ms age_p99_ms bytes_per_s",
    "stages": "fps age_p50_ms age_p95_ms perception_p50_ms",
    "photos": "people found pck05 pck10 false_people",
    "moving": "mpjpe_mm pa_mpjpe_mm acceleration_error_mm bodywire per_frame",
    "channel": """psnr_db_1 psnr_db_13 ms_ssim_10 butteraugli_10 mask_iou_10 channel_uses_per_pixel bodywire deepjscc
        webp_at_capacity""",
    "rivals": "bytes_per_frame added_joint_error_mm bodywire",
    "scenarios": "scenario_a scenario_b bodywire total_s age_p50_ms view_mse view_ssim mpjpe_mm",
    "web": "cold_upload_s opened_upload_s upload_p95_s first_mesh_s page_bytes",
}


def modules(name: str, seen: set[Path]) -> set[Path]:
    """The file of a module, or the files of a package, with the benches' modules that they import."""
    spec = importlib.util.find_spec(f"tests.bench.{name}")
    assert spec is not None and spec.origin is not None, name
    path = Path(spec.origin)
    for file in set(path.parent.glob("*.py") if path.stem == "__init__" else (path,)) - seen:
        seen.add(file)
        for used in re.findall(r"^from tests\.bench\.([\w.]+) import", file.read_text(encoding="utf-8"), re.MULTILINE):
            modules(used, seen)
    return seen


def test_benches_name_what_evaluations_read() -> None:
    for bench, keys in KEYS.items():
        source = "".join(file.read_text(encoding="utf-8") for file in modules(bench, set()))
        for key in keys.split():
            # Numbers and names of stages are formatted into some keys.
            assert key in source or all(word in source for word in re.split(r"[_\d]+", key)), f"{bench}: {key}"


def test_help_explains_every_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name.removesuffix(".__main__").rpartition(".")[2] for name in COMMANDS} >= KEYS.keys()
    for name in COMMANDS:
        with pytest.raises(SystemExit) as exited:
            importlib.import_module(f"tests.bench.{name}").main(["--help"])
        printed = capsys.readouterr().out
        assert exited.value.code == 0, name
        assert all(flag in printed for flag in ("--json FILE", "--seed", "--quick")), name
        assert len(printed) > 500, name


def test_figures_are_written_with_bench_seed_and_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Namespace(bench="wire", seed=7, json=tmp_path / "new" / "figures.json")
    report.publish(options, {"a": {"age_p50_ms": 1.23456789, "lost": float("nan")}}, "10 ms", more=[1])
    written = json.loads(options.json.read_text())
    assert (written["bench"], written["seed"], written["more"]) == ("wire", 7, [1])
    assert written["systems"] == {"a": {"age_p50_ms": 1.234568, "lost": None}}
    assert written["machine"]["cores"] > 0
    printed = capsys.readouterr().out
    assert printed.startswith("10 ms; ") and "| a | 1.23       | –    |" in printed
    many = report.table({"a": {f"figure_{number}": 1.0 for number in range(20)}})
    assert many.splitlines()[2] == "| figure_0  | 1.000 |"
