import json
from pathlib import Path

import numpy as np
import pytest

from common.body.label_space import LabelSpace
from common.codec.tables import UNIT, load
from common.labels import LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from common.synthetic.motion.poses import clips
from common.training import fit_codec
from common.training.fit_codec import default_tables, label_clip, main, with_importance, with_sequences
from common.weights.manifest import WEIGHTS_DIRECTORY
from tests.support.motion.label_motion import FINE_RHO, clip, moving_labels, transmit


def test_fitted_tables_need_fewer_bytes() -> None:
    labels = np.concatenate([moving_labels(60, seed) for seed in (50, 51)])
    fitted = with_sequences(default_tables(), labels, np.repeat([0, 1], 60))
    val = clip(60, seed=60)
    sizes = [sum(len(e.payload) for e, _ in transmit(val, FINE_RHO, tables=t)) for t in (default_tables(), fitted)]
    assert sizes[1] < sizes[0]


def test_importance_gives_steps_of_equal_displacement() -> None:
    mm = np.linspace(5.0, 300.0, LABEL_SIZE)
    mm[-1] = 0.0
    before = default_tables()
    tables = with_importance(before, mm)
    displacement = tables.base_step / UNIT * mm
    inside = (mm > 9) & (mm < 240)
    np.testing.assert_allclose(displacement[inside], displacement[inside][0], rtol=0.02)
    assert tables.base_step[-1] == before.base_step[-1]


@pytest.mark.slow
def test_command_line_writes_loadable_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.concatenate([moving_labels(60, seed) for seed in (50, 51)])
    monkeypatch.setattr(fit_codec, "label_sequences", lambda: (labels, np.repeat([0, 1], 60)))
    importance = WEIGHTS_DIRECTORY / "importance.json"
    assert main(["--importance", str(importance), "--out", str(tmp_path / "out")]) == 0
    tables = load(tmp_path / "out")
    assert tables.digest.hex().startswith(capsys.readouterr().out.split("sha256 ")[1][:16])
    assert "120 frames of 2 clips" in json.loads((tmp_path / "out" / "tables.json").read_text())["fitted_on"]
    assert main(["--importance", str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 3
    assert "none.json" in capsys.readouterr().err


def test_label_clip_changes_the_pose_and_differs_by_the_jitter() -> None:
    clip, space, slices = clips("test")[0], LabelSpace.load(), group_slices()
    clean, noisy = (label_clip(space, clip, jitter, np.random.default_rng(1)) for jitter in (0.0, 0.05))
    assert clean.shape == (len(clip.rotation_vectors), LABEL_SIZE) and np.isfinite(clean).all()
    deviation = clean.std(axis=0)
    assert deviation[slices["left_leg"]][0] > 0.1
    assert deviation[slices["shape"]].max() < 1e-5 and deviation[slices["appearance"]].max() < 1e-5
    noise, optional = noisy - clean, slice(slices[OPTIONAL_GROUPS[0]].start, None)
    assert 0.045 < noise[:, : optional.start].std() < 0.055
    assert not noise[:, optional].any()
