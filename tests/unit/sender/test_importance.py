import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import WeightsError
from common.frames import PersonLabels
from common.labels import GROUP_BY_NAME, GROUP_NAMES, OPTIONAL_GROUPS
from sender.importance import Importance

PERSON = PersonLabels(identity=0, score=1.0, labels={})


def with_sigma(**sigma: float) -> PersonLabels:
    vectors = {n: np.full(GROUP_BY_NAME[n].size, sigma.get(n, 0.2), dtype=np.float32) for n in GROUP_NAMES}
    return replace(PERSON, sigma=vectors)


def test_shipped_table_ranks_groups_by_anatomy() -> None:
    omega = Importance.load().omega
    assert set(omega) == set(GROUP_NAMES)
    assert omega["root"] == max(omega.values())
    assert min(omega["left_leg"], omega["torso"]) > omega["head"] > omega["hands"] > omega["appearance"] == 0.0
    assert omega["left_arm"] == pytest.approx(omega["right_arm"], rel=0.2)


def test_weights_without_or_with_equal_uncertainties_are_the_table() -> None:
    table = Importance.load()
    expected = {**table.omega, **dict.fromkeys(OPTIONAL_GROUPS, 0.0)}
    assert table.weights(PERSON) == expected
    assert table.weights(with_sigma()) == pytest.approx(expected)
    face = replace(PERSON, labels={**PERSON.labels, "face": np.zeros(12, np.float32)})
    assert table.weights(face) == {**expected, "face": table.omega["face"]}


def test_weights_of_some_groups_and_prefixes() -> None:
    table = Importance.load()
    sigma = {"torso": np.array([0.1], dtype=np.float32), "head": np.array([0.9, 0.9], dtype=np.float32)}
    weights = table.weights(replace(PERSON, sigma=sigma))
    assert set(weights) == set(GROUP_NAMES)
    assert weights["torso"] > table.omega["torso"] and weights["root"] == pytest.approx(table.omega["root"])
    with pytest.raises(ValueError, match="torso"):
        table.weights(replace(PERSON, sigma={"torso": np.array([np.nan], dtype=np.float32)}))


def test_load_when_missing_broken_or_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "importance.json"
    table = {"version": 2, "omega": dict.fromkeys(GROUP_NAMES, 1.0), "mm_per_sigma": [1.0] * 104}
    for content, reason in ((None, "missing"), ("{", "missing or broken"), (json.dumps(table), "another version")):
        if content is not None:
            path.write_text(content)
        with pytest.raises(WeightsError, match=reason):
            Importance.load(path)
