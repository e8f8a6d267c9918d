"""Networks in use: compiled, cached, by PyTorch where OpenVINO is missing, and on a device."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.errors import WeightsError
from common.weights import inference, threads
from common.weights.devices import CPU, int8_weight_bits
from common.weights.graph import CompiledGraph
from common.weights.inference import NetworkInUse, in_use
from common.weights.manifest import Precision, WeightsEntry
from tests.support.training.pretended_gpu import on_gpu, pretended_gpu


class Tiny(nn.Module):
    """Maps, and a position that is read from them: a difference of nearly equal numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("places", torch.linspace(0, 1, 64))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.convolution(image)
        attention = maps.flatten(2).softmax(dim=-1)
        places = self.get_buffer("places")
        return maps, attention @ places.square() - (attention @ places).square()


EXAMPLE = (torch.zeros(1, 3, 8, 8),)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("BODYWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    inference._announce.cache_clear()
    return tmp_path / "cache"


def network() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def outputs(used: NetworkInUse) -> tuple[Tensor, ...]:
    return used(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)))


def plain() -> tuple[Tensor, ...]:
    return outputs(NetworkInUse(network().eval(), "float32", CPU))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_compiled_network_predicts_as_pytorch(precision: Precision) -> None:
    for _ in range(2):  # compiled, then from the cache
        used = in_use(network(), EXAMPLE, "tiny", precision)
        maps, variance = outputs(used)
        assert maps.shape == (3, 4, 8, 8)
        torch.testing.assert_close(maps, plain()[0], atol=2e-2 if precision == "bf16" else 1e-5, rtol=0)
        torch.testing.assert_close(variance, plain()[1], atol=2e-3 if precision == "bf16" else 1e-5, rtol=0)


def test_rows_are_computed_side_by_side_where_several_threads_may_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(threads, "beside", lambda: 2)
    beside: set[int] = set()
    for _ in range(2):  # compiled, then from the cache
        used = in_use(network(), EXAMPLE, "tiny", threads=2)
        compiled = used._compiled
        assert compiled is not None and compiled.threads == 2
        used._compiled = compiled_and_noted(compiled, beside)
        torch.testing.assert_close(outputs(used), plain(), atol=1e-5, rtol=0)
    assert threading.get_ident() not in beside


def compiled_and_noted(compiled: CompiledGraph, beside: set[int]) -> Any:
    """The same, which notes the threads that call it."""

    class Noted:
        threads = compiled.threads

        def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            beside.add(threading.get_ident())
            return compiled(*inputs)

    return Noted()


def test_network_is_the_same_in_whatever_order_its_buffers_were_registered(folder: Path) -> None:
    for names in (("places", "scale"), ("scale", "places")):
        again = network()
        places = again.get_buffer("places")
        del again.places
        for name in names:
            again.register_buffer(name, places if name == "places" else torch.ones(2))
        in_use(again, EXAMPLE, "tiny")
    assert len(list(folder.iterdir())) == 1


class Layers(nn.Module):
    """One layer of each kind that may multiply in 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.deconvolution = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.matrix = nn.Linear(6, 5)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        rows = self.deconvolution(self.convolution(image)).flatten(2).transpose(1, 2)
        return (self.matrix(rows - rows.mean(dim=1, keepdim=True)),)


RANGES = {"convolution": (0.0, 1.02), "deconvolution": (-2.0, 2.0), "matrix": (-1.0, 2.0)}


def rounded(network: Layers, names: Iterable[str], bits: int) -> Layers:
    """The same network with simulated quantisers: 8 bits for inputs, so many for the weights of each output channel."""
    for name in names:
        low, high = RANGES[name]
        layer, axis = network.get_submodule(name), int(name == "deconvolution")
        weights, step = layer.get_parameter("weight").detach(), (high - low) / 255
        # Deconvolutions by weights of 7 bits have no signed inputs.
        zero = 127 if bits == 7 and name == "deconvolution" else round(-low / step)
        steps = weights.abs().amax([one for one in range(weights.ndim) if one != axis]) / (127 if bits == 8 else 64)
        zeros = torch.zeros(len(steps), dtype=torch.int32)
        weights.copy_(torch.fake_quantize_per_channel_affine(weights, steps, zeros, axis, -127, 127))
        layer.register_forward_pre_hook(partial(rounded_input, step=step, zero=zero))
    return network


def rounded_input(_: nn.Module, inputs: tuple[Tensor], step: float, zero: int) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(inputs[0], step, zero, 0, 255)


def layers() -> Layers:
    torch.manual_seed(0)
    return Layers().eval()


@pytest.mark.parametrize("bits", [0, 7, 8])
def test_layers_multiply_in_8_bits_where_that_is_fast(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    if bits > int8_weight_bits():
        pytest.skip(f"this processor does not multiply weights of {bits} bits exactly")
    monkeypatch.setattr(inference, "int8_weight_bits", lambda: bits)
    fast = tuple(RANGES) if bits else ()
    (unrounded,) = outputs(NetworkInUse(layers(), "float32", CPU))
    for name in RANGES:
        (found,) = outputs(in_use(layers(), EXAMPLE, "layers", int8={name: RANGES[name]}))
        names = [name] if name in fast else []
        (expected,) = outputs(NetworkInUse(rounded(layers(), names, bits), "float32", CPU))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert bool((found - unrounded).abs().mean() > 1e-4) is (name in fast)
    (found,) = outputs(in_use(layers(), EXAMPLE, "layers", int8=RANGES))
    (expected,) = outputs(NetworkInUse(rounded(layers(), fast, bits), "float32", CPU))
    # A value between two steps may be rounded to either, and the next layer sees it.
    assert (found - expected).abs().mean() < (5e-4 if bits == 7 else 1e-4)


@pytest.mark.parametrize(
    ("limit", "needs"), [("AVX2", "avx2"), ("AVX512_CORE", "avx512"), ("AVX512_CORE_VNNI", "vnni")]
)
def test_layers_multiply_as_on_processors_with_fewer_instructions(limit: str, needs: str, tmp_path: Path) -> None:
    if not getattr(torch.cpu, f"_is_{needs}_supported")():
        pytest.skip(f"this processor has no {needs}")
    # OpenVINO reads the limit when it is loaded.
    again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "multiply_in_8_bits"]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(again, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{3 if limit == 'AVX512_CORE_VNNI' else 2} passed" in done.stdout


@pytest.mark.parametrize(
    ("tiles", "precision", "quantised"),
    [(False, "bf16", True), (False, "float32", True), (True, "bf16", False), (True, "float32", True)],
)
def test_nothing_multiplies_in_8_bits_where_bf16_is_fast(
    tiles: bool, precision: Precision, quantised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[Any, ...]] = []
    monkeypatch.setattr(inference, "fast_in_bf16", lambda: tiles)
    monkeypatch.setattr(inference, "int8_weight_bits", lambda: 8)
    monkeypatch.setattr(inference, "_compiled", lambda *arguments: compiled.append(arguments))
    in_use(layers(), EXAMPLE, "layers", precision, int8=RANGES)
    assert compiled[0][3:5] == ("float32" if quantised else "bf16", RANGES if quantised else {})


def test_layer_of_another_network_in_8_bits(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(inference, "int8_weight_bits", lambda: 8)
    used = in_use(network(), EXAMPLE, "tiny", int8={"convolution": (0, 1), "head": (0, 1)})
    torch.testing.assert_close(outputs(used), plain())
    assert (
        "OpenVINO cannot run the network tiny, which is slower without it: the graph has no layers head" in caplog.text
    )


def test_compiled_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino")
    with caplog.at_level(logging.INFO):
        in_use(network(), EXAMPLE, "tiny")
        (file,) = folder.iterdir()
        written = file.stat().st_mtime_ns
        in_use(network(), EXAMPLE, "tiny")
    assert [path.stat().st_mtime_ns for path in folder.iterdir()] == [written]
    assert [record.getMessage() for record in caplog.records] == [
        "compiling the networks for this processor, once: the next start is faster"
    ]


def test_other_weights_are_compiled_again(folder: Path) -> None:
    pytest.importorskip("openvino")
    other = network()
    nn.init.zeros_(other.convolution.weight)
    for one in (network(), other):
        in_use(one, EXAMPLE, "tiny")
    assert len(list(folder.iterdir())) == 2


STORED = WeightsEntry("tiny.safetensors", "0" * 64, {}, {}, {})


def never() -> nn.Module:
    raise AssertionError("the network is built")


def test_network_that_is_cached_is_not_built(folder: Path) -> None:
    pytest.importorskip("openvino")
    in_use(network, EXAMPLE, "tiny", stored=STORED)
    torch.testing.assert_close(outputs(in_use(never, EXAMPLE, "tiny", stored=STORED)), plain())
    assert len(list(folder.glob("*.openvino"))) == 1


@pytest.mark.parametrize("change", ["weights", "program", "precision", "shape"])
def test_network_is_built_after_a_change(change: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    in_use(network, EXAMPLE, "tiny", stored=STORED)
    entry = replace(STORED, sha256="1" * 64) if change == "weights" else STORED
    if change == "program":
        monkeypatch.setattr(inference, "_program", lambda: "another one")
    example = (torch.zeros(1, 3, 4, 16),) if change == "shape" else EXAMPLE
    built: list[nn.Module] = []

    def build() -> nn.Module:
        built.append(network())
        return built[0]

    monkeypatch.setattr(inference, "fast_in_bf16", lambda: change == "precision")
    in_use(build, example, "tiny", "bf16", stored=entry)
    assert len(built) == 1
    # A network that is the same after all is not compiled again.
    assert len(list(folder.glob("*.openvino"))) == (2 if change in ("precision", "shape") else 1)


def test_other_code_is_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "common").mkdir()
    monkeypatch.setattr(inference, "_PROGRAM", [tmp_path / "common"])
    programs = set[str]()
    for code in ("a = 1", "a = 2"):
        (tmp_path / "common" / "network.py").write_text(code)
        inference._program.cache_clear()
        programs.add(inference._program())
    inference._program.cache_clear()
    assert len(programs) == 2


@pytest.mark.parametrize("content", [b"damage...", b"", b"network-none-0.openvino", b"\xff/../other", None])
def test_damaged_network_that_is_not_built_is_replaced(content: bytes | None, folder: Path) -> None:
    pytest.importorskip("openvino")
    in_use(network, EXAMPLE, "tiny", stored=STORED)
    (compiled,), (name,) = folder.glob("*.openvino"), folder.glob("*.name")
    good = name.read_bytes()
    if content is None:
        compiled.write_bytes(compiled.read_bytes()[:-9] + b"damage...")
    else:
        name.write_bytes(content)
    for build in (network, never):
        torch.testing.assert_close(outputs(in_use(build, EXAMPLE, "tiny", stored=STORED)), plain())
    assert name.read_bytes() == good


def test_missing_weights_of_a_network_that_is_built_are_no_fault_of_openvino() -> None:
    def missing() -> nn.Module:
        raise WeightsError("there are none")

    with pytest.raises(WeightsError):
        in_use(missing, EXAMPLE, "tiny", stored=STORED)


def test_folder_cannot_be_written(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino")
    folder.write_text("no folder")
    torch.testing.assert_close(outputs(in_use(network(), EXAMPLE, "tiny")), plain())
    assert "compiled networks cannot be cached, so that every start takes longer: " in caplog.text


def test_without_openvino(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    inference._has_openvino.cache_clear()
    try:
        torch.testing.assert_close(outputs(in_use(network(), EXAMPLE, "tiny")), plain())
    finally:
        inference._has_openvino.cache_clear()
    assert not folder.exists()


SIGNALLED = """
import gc, os, signal
from tests.unit.common.weights.test_inference import EXAMPLE, network
from common.weights.inference import in_use

arrived = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: arrived.append(number))
networks = [in_use(network(), EXAMPLE, name) for name in ("one", "other")]
while networks:
    del networks[0]
    gc.collect()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
assert arrived == 2 * [signal.SIGTERM, signal.SIGINT], arrived
"""


def test_signals_arrive_after_compiled_networks_are_gone(folder: Path) -> None:
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.iterdir())) == 2


def test_openvino_reports_nothing_to_its_authors() -> None:
    pytest.importorskip("openvino")
    in_use(network(), EXAMPLE, "tiny")
    loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
    assert not loaded
    assert "openvino.tools.ovc.telemetry_stub" in sys.modules


def test_on_a_gpu(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with pretended_gpu(monkeypatch) as gpu:
        model = network()
        used = in_use(model, EXAMPLE, "tiny", "float32", gpu)
        assert on_gpu(model)
        torch.testing.assert_close(outputs(used), plain())
    assert not folder.exists()
