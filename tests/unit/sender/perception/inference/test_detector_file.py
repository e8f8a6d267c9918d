"""`--detector`: networks of a user's own, made here, find a blue block; files that cannot be used."""

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

from common.arrays import FloatArray, Image
from common.errors import UsageError
from sender.perception.inference.detector_file import DetectorFile, _cells

graph = pytest.importorskip("common.weights.graph", exc_type=ImportError)

HEIGHT, WIDTH = 96, 128
STRIDES = (8, 16, 32)
BLOCK = np.array([60, 30, 100, 110])


def frame(height: int = 180, width: int = 240) -> Image:
    """A red picture with a blue block."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255
    x0, y0, x1, y1 = BLOCK
    image[y0:y1, x0:x1] = (0, 0, 255)
    return image


class BlockNet(nn.Module):
    """A picture (1, 3, H, W), blue first → the box of its blue block (4,), pixels of the input; corners without one."""

    def box(self, picture: Tensor) -> Tensor:
        blue = ((picture[0, 0] > 128) & (picture[0, 2] < 100)).float()
        columns, rows = blue.amax(dim=0), blue.amax(dim=1)
        places = [(each.argmax(), each.shape[0] - each.flip(0).argmax()) for each in (columns, rows)]
        (x0, x1), (y0, y1) = places
        return torch.stack([x0, y0, x1, y1]).float()


class Boxes(BlockNet):
    """The block, a car, somebody improbable, and a person at the border, as rows of a form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, picture: Tensor) -> Any:
        others = torch.tensor([[2.0, 2, 20, 20], [30, 2, 40, 20], [100, 60, 140, 96]])
        boxes = torch.cat([self.box(picture)[None], others])
        scores, classes = torch.tensor([0.8, 0.9, 0.05, 0.7]), torch.tensor([0.0, 5, 0, 1])
        if self.form == "5":
            kept = classes < 5
            return torch.cat([boxes, scores[:, None]], dim=1)[kept]
        if self.form == "5 and classes":
            return torch.cat([boxes, scores[:, None]], dim=1)[None], classes.long()[None]
        if self.form == "7":
            units = boxes / torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
            rows = torch.cat([torch.zeros(4, 1), classes[:, None], scores[:, None], units], dim=1)
            return torch.cat([rows, torch.tensor([[-1.0, 0, 0.9, 0, 0, 1, 1]])])[None, None]
        rows = torch.cat([boxes, scores[:, None], classes[:, None]], dim=1)
        return rows[None] if self.form == "6" else rows[scores > 0.3]


class Grid(BlockNet):
    """YOLOX's grid; two cells of different strides find the block."""

    def __init__(self, *, decoded: bool) -> None:
        super().__init__()
        self.decoded = decoded
        self.register_buffer("cells", _cells(WIDTH, HEIGHT, STRIDES))

    def forward(self, picture: Tensor) -> Tensor:
        x0, y0, x1, y1 = self.box(picture).unbind()
        stride, centre = self.get_buffer("cells")[:, 2:], torch.stack([(x0 + x1) / 2, (y0 + y1) / 2])
        offset = centre / stride - self.get_buffer("cells")[:, :2]
        hit = ((offset >= 0) & (offset < 1)).all(dim=1) & (stride[:, 0] > 8)
        offset = torch.where(hit[:, None], offset, torch.full_like(offset, 0.5))
        size = torch.log(torch.stack([x1 - x0, y1 - y0]).clamp_min(1) / stride)
        if self.decoded:
            offset, size = (offset + self.get_buffer("cells")[:, :2]) * stride, size.exp() * stride
        certain = torch.where(hit, 1 - stride[:, 0] / 100, torch.zeros_like(stride[:, 0]))[:, None]
        kinds = torch.tensor([[0.9, 0.1]]).expand(stride.shape[0], 2)
        return torch.cat([offset, size, certain, kinds], dim=1)[None]


class ChannelsLast(nn.Module):
    """The same network for a picture (1, H, W, 3)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Any:
        return self.network(picture.permute(0, 3, 1, 2))


def saved(network: nn.Module, path: Path, example: Tensor | None = None, shape: list[int] | None = None) -> Path:
    """Writes the network as .xml and .bin; the shape of its input may be open (-1)."""
    converted = graph._converted(network, (torch.zeros(1, 3, HEIGHT, WIDTH) if example is None else example,))
    if shape is not None:
        converted.reshape(graph.openvino.PartialShape(shape))
    graph.openvino.serialize(converted, path, path.with_suffix(".bin"))
    return path


def found(path: Path, image: Image, roll: float = 0.0) -> list[tuple[FloatArray, float]]:
    return [(each.box, each.score) for each in DetectorFile.load(path).find(image, roll=roll)]


@pytest.mark.parametrize("form", ["5", "5 and classes", "6", "6 of those likely", "7"])
def test_boxes_after_suppression(form: str, tmp_path: Path) -> None:
    block, border = found(saved(Boxes(form), tmp_path / "boxes.xml"), frame())
    assert (block[1], border[1]) == pytest.approx((0.8, 0.7))
    assert block[0] == pytest.approx(BLOCK, abs=2)
    assert border[0] == pytest.approx([100 * 240 / WIDTH, 60 * 180 / HEIGHT, 240, 180], abs=0.1)


@pytest.mark.parametrize("decoded", [False, True])
def test_grid_is_read_decoded_or_not(decoded: bool, tmp_path: Path) -> None:
    path = saved(Grid(decoded=decoded), tmp_path / "grid.xml")
    for image in (frame(), frame(180, 420), frame(400, 150)):
        ((box, score),) = found(path, image)
        assert score == pytest.approx(0.84 * 0.9)
        assert box == pytest.approx(BLOCK, abs=5)


def test_input_may_be_bytes_channels_last_or_open(tmp_path: Path) -> None:
    example = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)
    last = saved(ChannelsLast(Boxes("6")), tmp_path / "last.xml", example)
    whole = saved(Boxes("6"), tmp_path / "open.xml", shape=[-1, 3, -1, -1])
    assert found(last, frame())[0][0] == pytest.approx(BLOCK, abs=2)
    # It is 640 pixels wide and high.
    assert found(whole, frame())[0][0] == pytest.approx(BLOCK, abs=1)


def test_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What needs the package `onnx` adds functions, of which there are none.
    monkeypatch.setattr(onnx_proto_utils, "_add_onnxscript_fn", lambda content, _: content)
    path = tmp_path / "grid.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, and of its age
        torch.onnx.export(Grid(decoded=False), (torch.zeros(1, 3, HEIGHT, WIDTH),), path, dynamo=False)
    ((box, _),) = found(path, frame())
    assert box == pytest.approx(BLOCK, abs=5)


class Of(nn.Module):
    """A network that gives the same for every picture."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.register_buffer("output", output)

    def forward(self, picture: Tensor) -> Tensor:
        return self.get_buffer("output") + 0 * picture.sum()


class Two(nn.Module):
    def forward(self, picture: Tensor, other: Tensor) -> Tensor:
        return picture + other


def test_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no network")
    (tmp_path / "weights.pt").write_bytes(b"other")
    picture = torch.zeros(1, 3, 32, 32)
    graph.openvino.serialize(graph._converted(Two(), (picture, picture)), tmp_path / "two.xml")
    saved(Of(torch.zeros(1, 84, 100)), tmp_path / "transposed.xml")
    saved(Of(torch.tensor([[1.0, 2, 3, 4, -5]])), tmp_path / "logits.xml")
    saved(nn.ReLU(), tmp_path / "four.xml", torch.zeros(1, 4, 32, 32))
    saved(nn.ReLU(), tmp_path / "huge.xml", shape=[1, 3, 100_000, 100_000])
    reasons = {
        "huge.xml": r"it reads a picture of \[1, 3, 100000, 100000\]: at most 4096 pixels a side",
        "none.onnx": "there is no such file",
        "damaged.onnx": "OpenVINO cannot run it: ",
        "weights.pt": r"its name must end with .onnx, .xml or .tflite",
        "two.xml": r"it reads \[1,3,32,32\] f32, \[1,3,32,32\] f32; one picture would be ",
        "four.xml": r"it reads \[1,4,32,32\] f32; ",
        "transposed.xml": r"its output \[1, 84, 100\] is neither N × .* grid of 252 cells",
        "logits.xml": "its scores are no probabilities: -5 to -5",
    }
    for name, reason in reasons.items():
        with pytest.raises(UsageError, match=f"^--detector {tmp_path / name}: {reason}") as error:
            DetectorFile.load(tmp_path / name)
        assert "\n" not in str(error.value)


class Scripted:
    """A network that says what it is told to."""

    def __init__(self) -> None:
        self.says = torch.tensor([[10.0, 10, 60, 80, 0.9]])

    def __call__(self, picture: Tensor) -> tuple[Tensor]:
        return (self.says,)


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("rows", "people"),
    [
        ([[float("nan")] * 4 + [0.9], [10, 10, 60, 80, 0.8]], [0.8]),
        ([[-INFINITE, 0, INFINITE, 90, 0.9]], []),
        ([[10, 10, 60, 80, 50.0]], [1.0]),
        ([[10, 10, 60, 80, float("nan")]], []),
        ([[1, 1, 60, 80, 0.9]] * 20_000, [0.9] * 50),
        ([], []),
    ],
    ids=["no number", "infinite", "too sure", "no score", "many", "none"],
)
def test_boxes_that_make_no_sense_are_left_out(rows: list[list[float]], people: list[float]) -> None:
    network = Scripted()
    detector = DetectorFile(cast(Any, network), (1, 3, HEIGHT, WIDTH))
    network.says = torch.tensor(rows)
    assert [found.score for found in detector.find(frame())] == pytest.approx(people)


def test_network_that_fails_later_is_told_in_one_line() -> None:
    network = Scripted()
    detector = DetectorFile(cast(Any, network), (1, 3, HEIGHT, WIDTH), name="people.onnx")
    for says in (torch.zeros(3, 3), torch.zeros(3, 9), torch.tensor(1.0)):
        network.says = says
        with pytest.raises(UsageError, match=r"^--detector people\.onnx: it fails at a picture: its output has . numb"):
            detector.find(frame())

    def fail(picture: Tensor) -> None:
        raise RuntimeError("Exception from src/inference.cpp:\nCheck failed")

    detector._network = fail  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"^--detector people\.onnx: it fails at a picture: Check failed: leave"):
        detector.find(frame())
