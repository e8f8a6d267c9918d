import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from common.errors import OutputError
from tests.bench.svg import Line, Panel, svg, write_svg

_AT_S = np.linspace(0.0, 10.0, 50)
_PANEL = Panel(
    "a < b", "s", "ms", "kbit/s", {"age": Line(_AT_S, _AT_S * 3), "capacity": Line(_AT_S, _AT_S + 1, right=True)}
)


def _points(root: ElementTree.Element, kind: str) -> np.ndarray:
    (found,) = root.iter(f"{{http://www.w3.org/2000/svg}}{kind}")
    return np.array([[float(number) for number in pair.split(",")] for pair in found.attrib["points"].split()])


def test_lines_are_polylines_and_right_lines_are_areas() -> None:
    root = ElementTree.fromstring(svg([_PANEL]))
    line, area = _points(root, "polyline"), _points(root, "polygon")
    assert len(line) == 50
    assert len(area) == 52
    assert (np.diff(line[:, 0]) > 0).all()
    # In images y points down.
    assert (np.diff(line[:, 1]) < 0).all()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "age", "capacity", "ms (grey: kbit/s)"} <= set(texts)


@pytest.mark.parametrize(("highest", "top"), [(0.0, 1.0), (0.9, 1.0), (7.0, 10.0), (445.0, 500.0), (1001.0, 1250.0)])
def test_scale_ends_at_a_round_number(highest: float, top: float) -> None:
    line = Line(_AT_S, np.full(50, highest))
    root = ElementTree.fromstring(svg([Panel("", "s", "ms", "", {"age": line})]))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert f"{top:.4g}" in texts


def test_image_height_grows_with_panels() -> None:
    heights = [int(ElementTree.fromstring(svg([_PANEL] * count)).attrib["height"]) for count in (1, 3)]
    assert heights[1] == 3 * heights[0]


def test_line_without_points() -> None:
    nothing = Line(np.array([]), np.array([]))
    ElementTree.fromstring(svg([Panel("", "s", "ms", "", {"age": nothing})]))


def test_unwritable_file_is_an_output_error(tmp_path: Path) -> None:
    write_svg(tmp_path / "new" / "plot.svg", [_PANEL])
    assert (tmp_path / "new" / "plot.svg").read_text().startswith("<svg")
    with pytest.raises(OutputError, match="cannot write"):
        write_svg(tmp_path, [_PANEL])


def test_decades_of_logarithmic_scales_are_equally_far_apart() -> None:
    values = np.array([1.0, 10.0, 100.0])
    root = ElementTree.fromstring(
        svg([Panel("", "mm", "bytes", "", {"a": Line(values, values**2, marked=True)}, log_x=True, log_y=True)])
    )
    steps = np.diff(_points(root, "polyline"), axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=0.1)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"1", "10", "100", "10000"} <= texts


def test_panels_of_different_height_follow_each_other() -> None:
    low, high = (Panel("", "s", "ms", "", {"age": Line(_AT_S, _AT_S)}, height=height) for height in (100, 300))
    assert int(ElementTree.fromstring(svg([low, high])).attrib["height"]) == int(
        ElementTree.fromstring(svg([low])).attrib["height"]
    ) + int(ElementTree.fromstring(svg([high])).attrib["height"])


@pytest.mark.parametrize(
    ("marked", "labels"), [(True, {"1", "4", "13"}), (False, {"1", "3.4", "5.8", "8.2", "10.6", "13"})]
)
def test_few_measurements_are_where_the_ticks_are(marked: bool, labels: set[str]) -> None:
    line = Line(np.array([1.0, 4.0, 13.0]), np.array([20.0, 20.0, 20.0]), marked=marked)
    root = ElementTree.fromstring(svg([Panel("", "dB", "", "", {"": line})]))
    texts = [
        each for each in root.iter("{http://www.w3.org/2000/svg}text") if each.attrib.get("text-anchor") == "middle"
    ]
    assert {each.text for each in texts} == {*labels, "dB"}
