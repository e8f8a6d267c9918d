from pathlib import Path

import numpy as np
import pytest

from common.texture import point_colours
from common.training import fit_point_order
from common.training.body.surface_points import halved
from common.training.fit_point_order import mean_body_points


def test_points_are_halved_along_the_longest_side() -> None:
    positions = np.array([[30.0, 0, 0], [0, 1, 0], [31, 1, 0], [0, 0, 0]])
    assert np.concatenate(halved(positions, np.arange(4), 4)).tolist() == [3, 1, 0, 2]


def test_shipped_order_is_that_of_the_body_up_to_close_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "order.npz"
    fit_point_order.main(["--out", str(file)])
    shipped = point_colours.point_order()
    monkeypatch.setattr(point_colours, "POINT_ORDER_FILE", file)
    fitted = point_colours.point_order.__wrapped__()
    # It was fitted on a body up to 0.7 mm away from the shipped one, which exchanges neighbours at the splits.
    assert (fitted != shipped).mean() < 0.05
    points = mean_body_points()
    apart = np.linalg.norm(points[fitted] - points[shipped], axis=1)
    assert np.percentile(apart, 97) < 0.01
    assert apart.max() < 0.3


def test_help_writes_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np, "savez_compressed")
    with pytest.raises(SystemExit) as stopped:
        fit_point_order.main(["--help"])
    assert stopped.value.code == 0
    assert "--out" in capsys.readouterr().out
