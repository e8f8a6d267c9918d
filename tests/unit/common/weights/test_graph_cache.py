"""Compiled networks that are read ahead: those that the last start has used, and whatever their files hold."""

import threading
from pathlib import Path

import pytest
import torch

from common.weights import graph_cache, inference
from common.weights.graph_cache import GraphCache
from common.weights.inference import in_use
from tests.unit.common.weights.test_inference import EXAMPLE, network, outputs, plain

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("BODYWIRE_CACHE", str(tmp_path))
    return tmp_path


def started(monkeypatch: pytest.MonkeyPatch) -> GraphCache:
    """The cache of a new process that has read ahead."""
    cache = GraphCache()
    monkeypatch.setattr(inference, "GRAPHS", cache)
    read_ahead(cache)
    return cache


def read_ahead(cache: GraphCache) -> None:
    cache.read_ahead("test")
    cache.wait_read()


def first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = started(monkeypatch)
    in_use(network(), EXAMPLE, "tiny")
    cache.note_start()


def test_second_start_reads_what_the_first_one_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_start(monkeypatch)
    noted = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    cache = started(monkeypatch)
    monkeypatch.setattr(graph_cache, "_models", lambda *_: pytest.fail("it has been read"))
    torch.testing.assert_close(outputs(in_use(network(), EXAMPLE, "tiny")), plain())
    cache.note_start()
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == noted


def test_what_is_not_used_any_more_is_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_start(monkeypatch)
    started(monkeypatch).note_start()
    (notes,) = folder.glob("start-*")
    assert notes.read_text() == "[]"


def test_network_is_read_once_if_it_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first_start(monkeypatch)
    cache, read = GraphCache(), threading.Event()
    monkeypatch.setattr(inference, "GRAPHS", cache)
    in_use(network(), EXAMPLE, "tiny")
    monkeypatch.setattr(graph_cache, "_models", lambda *_: read.set())
    read_ahead(cache)
    assert not read.is_set()


@pytest.mark.parametrize("content", ["", "[[1", "{}", "[[1, 2, 3]]", '[["../network", "bf16", 1]]', '[["/dev/zero"]]'])
def test_damaged_notes(content: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_start(monkeypatch)
    (notes,) = folder.glob("start-*")
    good = notes.read_text()
    notes.write_text(content)
    cache = started(monkeypatch)
    torch.testing.assert_close(outputs(in_use(network(), EXAMPLE, "tiny")), plain())
    cache.note_start()
    assert notes.read_text() == good
