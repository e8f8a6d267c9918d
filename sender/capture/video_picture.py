"""The pictures that decoded frames of a video show."""

from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData, Type
from PIL import Image as PillowImage

from common.arrays import Image
from common.imaging.pictures import orientation_of_matrix, to_rgb, upright
from sender.capture.source import check_size
from sender.capture.tone_mapping import is_hdr, tone_mapped

# Wider and narrower pixels are an error in the file.
_MAX_PIXEL_ASPECT = 4.0
_MATRIX_BYTES = 36
# Side data of FFmpeg that this version of PyAV may lack a name for.
_UNNAMED = range(len(Type), 64)
# Of frames without times.
_CLOCK = Fraction(1, 90_000)


def upright_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
    """A frame as of `square_rgb`, turned and mirrored as its display matrix says."""
    image, matrix = square_rgb(frame, pixel_aspect), _display_matrix(frame)
    if not isinstance(matrix, SideData) or matrix.buffer_size != _MATRIX_BYTES:
        return image
    return upright(image, orientation_of_matrix(np.frombuffer(bytes(matrix), np.int32).tolist()))


def square_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
    """A decoded frame as (H, W, 3) RGB with square pixels; transparent ones become white.

    Args:
        pixel_aspect: width of a pixel over its height; the narrower side is stretched.

    Raises:
        SourceError: the frame is too large.
    """
    stretch_x = pixel_aspect if 1.0 < pixel_aspect <= _MAX_PIXEL_ASPECT else 1.0
    stretch_y = 1.0 / pixel_aspect if 1.0 / _MAX_PIXEL_ASPECT <= pixel_aspect < 1.0 else 1.0
    width, height = round(frame.width * stretch_x), round(frame.height * stretch_y)
    check_size(width, height)
    if is_hdr(frame):
        image = tone_mapped(frame, width, height)
    elif any(component.is_alpha for component in frame.format.components):
        pixels = frame.to_ndarray(format="rgba", width=width, height=height)
        image = np.asarray(to_rgb(PillowImage.fromarray(pixels, "RGBA")))
    else:
        image = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8)
    return np.ascontiguousarray(image)


def _display_matrix(frame: av.VideoFrame) -> object:
    try:
        return frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV reads either all of them or none
        graph = _graph(frame, *(("sidedata", f"mode=delete:type={number}") for number in _UNNAMED))
        graph.push(frame)
        return graph.vpull().side_data.get("DISPLAYMATRIX")


class Deinterlacer:
    """Makes whole pictures of frames whose rows were taken at two times; whole ones are left as they are."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._form: object = None

    def pictures(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """What can be shown now that a frame has come: from its first one with two fields on, the frame before."""
        shown, form = list[av.VideoFrame](), (frame.width, frame.height, frame.format.name)
        if self._graph is not None and form != self._form:
            shown = self.rest()
        if self._graph is None and not frame.interlaced_frame:
            return [*shown, frame]
        if self._graph is None:
            self._graph, self._form = _graph(frame, ("bwdif", "mode=send_frame:deint=interlaced")), form
        self._graph.push(frame)
        return shown + self._pulled(self._graph)

    def rest(self) -> list[av.VideoFrame]:
        """What waits for a frame that does not come."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.push(None)
        return self._pulled(graph)

    @staticmethod
    def _pulled(graph: Graph) -> list[av.VideoFrame]:
        pulled = list[av.VideoFrame]()
        with suppress(av.BlockingIOError, av.EOFError):
            while True:
                pulled.append(graph.vpull())
        return pulled


def _graph(frame: av.VideoFrame, *filters: tuple[str, str]) -> Graph:
    """Filters, one behind the other, for frames like this one."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or _CLOCK
    )
    graph.link_nodes(source, *(graph.add(*each) for each in filters), graph.add("buffersink")).configure()
    return graph
