"""What is painted on people without extras, how they are judged and calibrated, and a short training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.body.anatomy import KEYPOINT_INDEX
from common.training.run import parse
from common.wear_kinds import EXTRAS, VALUES
from common.wears import possible
from common.weights.loader import load_weights
from sender.train import extras
from sender.train.worn import people as worn_people
from sender.train.worn.painted_extras import PAINTERS
from sender.train.worn.people import judged_people
from sender.train.worn.views import bits
from sender.wears.extras import ExtrasConfig, ExtrasNet
from tests.support.photograph_sources import write_photographs
from tests.support.training_examples import assert_shipped, flags_of_examples, recipe_of, train_on_gpu
from tests.unit.sender.wears.test_extras import standing

SIZE = 256
PICTURE, MASK = np.full((SIZE, SIZE, 3), 180, np.uint8), np.full((80, 80), 255, np.uint8)
# Where each lies, by keypoints in its middle.
AROUND = {"eyewear": ("left_eye", "right_eye"), "hands": ("left_wrist", "right_wrist")}


def keypoints(visible: float) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.column_stack([standing(), np.full(17, visible, np.float32)])


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in PAINTERS for value in PAINTERS[name]])
def test_what_is_painted_lies_where_it_is_worn(name: str, value: str) -> None:
    near = standing()[[KEYPOINT_INDEX[each] for each in AROUND[name]]]
    changed = np.zeros((SIZE, SIZE))
    for seed in range(6):
        picture = PAINTERS[name][value](np.random.default_rng(seed), PICTURE, MASK, keypoints(1.0))
        assert picture is not None
        changed += np.abs(picture.astype(int) - PICTURE).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    places = np.stack([columns, rows], axis=1) / SIZE
    distance = np.linalg.norm(places[:, None] - near, axis=2).min(axis=1)
    assert len(rows) > 60 and distance.max() < 0.16, distance.max()


def test_nothing_is_painted_on_what_cannot_be_seen() -> None:
    rng = np.random.default_rng(0)
    for painters in PAINTERS.values():
        assert all(paint(rng, PICTURE, MASK, keypoints(0.1)) is None for paint in painters.values())


def test_painted_people_wear_what_was_painted_and_the_others_stay() -> None:
    bare = possible({name: [values[0]] for name, values in EXTRAS.items()})
    unknown = possible({})
    seen = set()
    for seed in range(40):
        picture, kinds = extras.painted(np.random.default_rng(seed), PICTURE, MASK, keypoints(1.0), bare)
        assert np.array_equal(picture, PICTURE) == np.array_equal(kinds, bare)
        seen |= {(row, int(kind)) for row, kind in enumerate(kinds) if kind != bare[row]}
        picture, kinds = extras.painted(np.random.default_rng(seed), PICTURE, MASK, keypoints(1.0), unknown)
        assert np.array_equal(picture, PICTURE) and np.array_equal(kinds, unknown)
    first = list(VALUES).index("eyewear")
    assert seen == {(first, 2), (first, 4), (first + 1, 2)}


def write_extras(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says that by turns people wear sunglasses and gloves, nothing, goggles, and glasses."""
    words = ("sunglasses,gloves", "none", "goggles,beard", "glasses")
    lines = [f"{number}\t{words[number % 4]}" for number in range(len(list((folder / "images").iterdir())))]
    (folder / "wears.tsv").write_text("\n".join(["annotation_id\textras", *lines]) + "\n")
    (folder / "more.tsv").write_text("annotation_id\thair\n")
    monkeypatch.setattr(worn_people, "_PEOPLE", folder / "more.tsv")


def test_list_of_extras_gives_values_where_they_could_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_photographs(tmp_path, 16)["people"]
    write_extras(folder, monkeypatch)
    known = {name: person.kinds for name, (person,) in judged_people(folder, "train").items()}
    row, everything = list(VALUES).index("eyewear"), possible({})
    for name, kinds in known.items():
        expected = [(4, 2), (1, 1), (4, 1), (2, 1)][int(name.split(".")[0]) % 4]
        assert tuple(kinds[row:].tolist()) == expected, name
        np.testing.assert_array_equal(kinds[:row], everything[:row])


def test_calibration_finds_temperature_and_frequencies() -> None:
    torch.manual_seed(0)
    truth = torch.multinomial(torch.tensor([0.8, 0.2]), 1500, replacement=True)
    kinds = [possible({"hands": [EXTRAS["hands"][value]]}) for value in truth.tolist()]
    known = bits(torch.from_numpy(np.stack(kinds)), EXTRAS)
    noisy = torch.zeros(len(known), known.shape[1])
    # Evidence of likelihood ratio exp(2 x) for x of N(±1, 1), stated three times too surely.
    noisy[:, -1] = 3 * 2 * (torch.randn(len(known)) + 2 * truth - 1)
    network = ExtrasNet(ExtrasConfig(token=8))
    extras.calibrate(network, noisy, known)
    assert float(network.temperature[-1]) == pytest.approx(3, rel=0.15)
    odds = float(network.offset[-1] - network.offset[-2])
    assert odds == pytest.approx(np.log(0.2 / 0.8), abs=0.25)


def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_photographs(tmp_path / "sources", 16)["people"]
    write_extras(folder, monkeypatch)
    given = ["--people", str(folder), "--observed", str(tmp_path / "observed"), "--batch", "4"]
    judged = 0
    for fold in ("0", "1", "2"):
        _, document = train_on_gpu(monkeypatch, extras.ExtrasTraining, tmp_path / fold, *given, "--fold", fold)
        judged += document["photographed"]
    read = ["--left-out", *(str(tmp_path / fold) for fold in ("0", "1", "2"))]
    network, document = train_on_gpu(monkeypatch, extras.ExtrasTraining, tmp_path / "all", *given, *read)
    assert judged == 2 * document["photographed"], "everybody is left out once"
    assert load_weights("extras", directory=tmp_path / "all" / "weights").keys() == network.state_dict().keys()
    begun = train_on_gpu(monkeypatch, extras.ExtrasTraining, tmp_path / "begun", *given, "--shipped", steps=0)
    assert_shipped(*begun, "extras")


def test_examples_parse() -> None:
    assert [parse(recipe_of(extras), flags).fold for flags in flags_of_examples(extras)] == [0, None]
