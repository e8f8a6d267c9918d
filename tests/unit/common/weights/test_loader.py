"""Loading and saving of weights: round trips, checks against the manifest, model hash."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.body import faces, label_space, model
from common.errors import WeightsError
from common.weights.loader import SCALE, dequantised, load_weights, quantised, save_weights
from common.weights.manifest import Storage, check_files, model_hash, read_manifest

TENSORS = {"layer.weight": torch.randn(3, 4), "steps": torch.tensor(7)}
ARCHITECTURE = {"width": 4, "taps": [1, 2]}


def save(directory: Path, name: str = "net", *, storage: Storage = "float32") -> None:
    recipe, scores = {"seed": 0}, {"mpjpe_mm": 1.0}
    save_weights(name, TENSORS, ARCHITECTURE, recipe, scores, storage=storage, directory=directory)


@pytest.mark.parametrize("storage", ["float32", "exact"])
def test_round_trip(tmp_path: Path, storage: Storage) -> None:
    save(tmp_path, storage=storage)
    loaded = load_weights("net", ARCHITECTURE, tmp_path)
    assert torch.equal(loaded["layer.weight"], TENSORS["layer.weight"])
    assert loaded["steps"].item() == 7
    assert read_manifest(tmp_path)["net"].scores == {"mpjpe_mm": 1.0}


@pytest.mark.parametrize(
    ("name", "architecture", "removed", "match"),
    [
        ("net", None, "manifest.json", "no trained weights"),
        ("other", None, None, "'other' are missing"),
        ("net", None, "net.safetensors", "cannot be read .No such file"),
        ("net", {"width": 8}, None, "another version"),
    ],
)
def test_missing_or_other_weights(
    tmp_path: Path, name: str, architecture: dict[str, int] | None, removed: str | None, match: str
) -> None:
    save(tmp_path)
    if removed:
        (tmp_path / removed).unlink()
    with pytest.raises(WeightsError, match=match):
        load_weights(name, architecture, tmp_path)


def test_a_damaged_file_is_found_without_loading_it(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save(tmp_path, name)
    check_files(tmp_path)
    path = tmp_path / read_manifest(tmp_path)["second"].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"second.* are damaged or of another version"):
        check_files(tmp_path)
    with pytest.raises(WeightsError, match="checksum differs"):
        load_weights("second", None, tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match=r"second.* cannot be read"):
        check_files(tmp_path)


def test_a_network_that_nothing_needs_may_be_missing(tmp_path: Path) -> None:
    save(tmp_path, "movenet_thunder")
    path = tmp_path / read_manifest(tmp_path)["movenet_thunder"].file
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="are damaged"):
        check_files(tmp_path)
    path.unlink()
    check_files(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage " * 999, b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", None])
def test_damaged_or_missing_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    path = tmp_path / "space.safetensors"
    if content is not None:
        path.write_bytes(content)
    loads: list[tuple[object, str, Callable[[], object]]] = [
        (label_space, "LABEL_SPACE_FILE", label_space.LabelSpace.load),
        (model, "SHAPE_SPACE_FILE", model._load_tensors.__wrapped__),
        (faces, "EXPRESSION_SPACE_FILE", faces.ExpressionSpace.load),
        (label_space, "SURFACE_SPACE_FILE", label_space.SurfaceSpace.load),
    ]
    for module, name, load in loads:
        monkeypatch.setattr(module, name, path)
        with pytest.raises(WeightsError, match=r"space\.safetensors is missing or (damaged|unreadable); reinstall"):
            load()


ENTRY = {"file": "a", "sha256": "", "architecture": {}, "recipe": {}, "scores": {}}


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", '{"format": 1, "entries": {"net": {"file": 1}}}', '{"format": 1, "entries": []}', "\xff"),
        *(
            json.dumps({"format": 1, "entries": {"net": ENTRY | wrong}})
            for wrong in ({"file": 5}, {"file": "../a"}, {"architecture": None})
        ),
    ],
)
def test_damaged_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(WeightsError, match="is damaged"):
        read_manifest(tmp_path)


def test_manifest_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99, "entries": {}}))
    with pytest.raises(WeightsError, match="format 99"):
        read_manifest(tmp_path)


def test_model_hash_depends_on_the_label_space_and_not_on_weights(tmp_path: Path) -> None:
    without = model_hash(tmp_path)
    (tmp_path / "label_space.safetensors").write_bytes(b"axes")
    first = model_hash(tmp_path)
    (tmp_path / "label_space.safetensors").write_bytes(b"other axes")
    second = model_hash(tmp_path)
    assert len({without, first, second}) == 3 and len(first) == 8
    save(tmp_path, "perception")
    assert model_hash(tmp_path) == second


MATRIX = torch.randn(64, 80) * torch.logspace(-6, 2, 64)[:, None]
KERNEL = torch.cat([torch.randn(31, 16, 3, 3), torch.zeros(1, 16, 3, 3)])


def test_error_of_each_channel_is_at_most_half_a_step() -> None:
    outlier = MATRIX.clone()
    outlier[3, 7] *= 1000
    for tensor in (MATRIX, KERNEL, outlier):
        stored = quantised({"weight": tensor})
        assert stored["weight"].dtype == torch.int8
        error = (dequantised(stored)["weight"] - tensor).abs()
        assert (error <= 0.5001 * stored["weight" + SCALE]).all()
        deviation = tensor.flatten(1).square().mean(1).sqrt()
        assert (error.flatten(1).square().mean(1).sqrt() <= deviation / 60).all() or tensor is outlier


def test_vectors_small_matrices_and_integers_are_not_quantised() -> None:
    tensors = {
        "bias": torch.randn(5000),
        "small": torch.randn(8, 8),
        "deviations": torch.rand(256, 24),
        "table": torch.arange(10_000).reshape(100, 100),
    }
    stored = quantised(tensors)
    assert stored.keys() == tensors.keys()
    assert {stored[name].dtype for name in ("bias", "small", "deviations")} == {torch.float16}
    assert torch.equal(stored["table"], tensors["table"])
