"""Colours for what no camera has seen of a person: it continues what was seen of the same skin, hair or garment.

A body is a graph of vertices, each of one part (`receiver.outfits.dressing.PARTS`).  Edges between parts are cut, so
that no colour crosses from one to another.  What is seen of a vertex holds its colour; so does, less firmly, what is
seen of its mirror vertex.  The others have the mean colour of their neighbours, drawn to the one of their body region
in the part: a screened Poisson equation, solved by Jacobi iterations.

Parts meet along smooth and soft lines: next to another part, vertices have shares of several, and a colour of each.
Lines between vertices of one part each would be zigzags, for triangles are coarse.

Shapes: T texels that show skin, V' vertices of the template, C parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from common.arrays import BoolArray, ByteArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import REGION_INDEX, REGIONS
from common.body.template import BodyTemplate
from common.body.triangles import neighbour_mean
from common.texture.atlas import AtlasLayout
from receiver.outfits.dressing import PARTS

# What is seen of a vertex, and of its mirror vertex, and the colour of its group, weigh so much; an edge weighs one.
_SEEN, _MIRRORED, _GROUP = 30.0, 4.0, 0.1
# Colours reach so many edges far.
_ITERATIONS = 12
# A group has the median colour of the whole part until about so many of its texels are seen.
_GROUP_TEXELS = 200.0
# Parts of which a smaller share was seen have no colour of their own; in place of trousers, desks are seen.
_LEAST_SEEN, _LEAST_BOTTOM = 0.02, 0.035
# Colours are unlike that differ by so much of the saturation, at least by so much of the brightness, or by such factors
# in brightness.
_OF_SATURATION, _LEAST_CHROMA, _DARKER, _LIGHTER = 0.6, 0.05, 0.4, 1.8
# Hands of which a larger share is unlike skin wear gloves.
_GLOVE = 0.6
# The shares that a vertex has of parts are means over neighbours, of so many rounds.  Raised to this power, they go
# from 10 % to 90 % within half an edge: 6 mm at the neck.
_ROUNDS, _SHARPNESS = 5, 8
# Texels that a median is of, at most.
_SAMPLES = 1000

_SKIN, _TOP, _BOTTOM = (PARTS.index(name) for name in ("skin", "top", "bottom"))
_STEMS = list(dict.fromkeys(name.split(".")[0] for name in REGIONS))
_STEM = np.array([_STEMS.index(name.split(".")[0]) for name in REGIONS])
# A group of a part and a stem is a byte, and this is none.
_NO_GROUP = 255
# What is worn where nothing is known of the outfit.
_PLAIN = {"scalp": "hair", "chest": "top", "upper_arm": "top", "forearm": "top", "hips": "bottom", "thigh": "bottom",
          "shin": "bottom", "foot": "shoes"}  # fmt: skip


class SurfaceFilling:
    """The graph of a body."""

    def __init__(self, template: BodyTemplate, layout: AtlasLayout) -> None:
        corners = template.place[layout.corners]
        nearest = layout.barycentric.argmax(axis=1)[:, None]
        _, first, self.triangle = np.unique(layout.face, return_index=True, return_inverse=True)
        # Eyes, teeth and tongue are not of the template.  `FaceDetail` draws them; here they are like any first vertex.
        self.vertex: IntArray = np.take_along_axis(corners, nearest, axis=1)[:, 0].clip(0).astype(np.int64)
        self.corners: Int32Array = corners.clip(0)
        self.triangles: Int32Array = self.corners[first]
        parts = (layout.barycentric.ravel(), self.corners.ravel(), np.arange(0, corners.size + 1, 3))
        self.barycentric = sparse.csr_matrix(parts, shape=(len(corners), len(template)))
        self.texels = np.bincount(self.vertex, minlength=len(template)).astype(np.float32)
        self.mirror, self.edges = template.mirror, template.adjacency.tocsr().astype(np.float32)
        near = sparse.identity(len(template), np.float32) + neighbour_mean(self.edges)
        self.smooth = sparse.csr_matrix((near / 2) ** _ROUNDS, dtype=np.float32)
        self.rows = np.repeat(np.arange(len(template)), np.diff(self.edges.indptr))
        self.stem: IntArray = _STEM[template.region]
        sides = [REGION_INDEX[f"hand.{side}"] for side in "LR"]
        self._hands = [np.flatnonzero(layout.region == side) for side in sides]
        self._shins = np.flatnonzero(_STEM[layout.region] == _STEMS.index("shin"))
        plain = [PARTS.index(_PLAIN.get(stem, "skin")) for stem in _STEMS]
        self._plain: IntArray = np.array(plain)[self.stem]

    def surface(self, colours: ByteArray, known: BoolArray, part: IntArray | None = None) -> "Surface":
        """One person's.

        Args:
            colours: (T, 3) RGB.
            known: (T,) whether they are known.
            part: (V',) index into `PARTS` of each vertex; None if the outfit is not known.
        """
        parts = (self._plain if part is None else part).astype(np.uint8)
        shown = known & ~self._in_hands(colours, known, parts)
        return Surface(self, colours, shown, shown & ~self._overhanging(colours, shown, parts), parts)

    def _overhanging(self, colours: ByteArray, known: BoolArray, part: ByteArray) -> BoolArray:
        """(T,) which known texels of the bottom are of the top, which hangs over it: no top reaches the shins."""
        own, over = part.take(self.vertex), np.zeros_like(known)
        top, bottom = (np.flatnonzero(known & (own == each)) for each in (_TOP, _BOTTOM))
        if len(top) and np.mean(known[self._shins]) < _LEAST_SEEN:
            over[bottom] = ~_unlike(colours[bottom], _median(colours, top))
        return over

    def _in_hands(self, colours: ByteArray, known: BoolArray, part: ByteArray) -> BoolArray:
        """(T,) which known texels of bare hands show what they hold."""
        held, skin = np.zeros_like(known), np.flatnonzero(known & (part.take(self.vertex) == _SKIN))
        if not len(skin):
            return held
        tone = _median(colours, skin)
        for hand in self._hands:
            own = hand[known[hand] & (part.take(self.vertex[hand]) == _SKIN)]
            unlike = _unlike(colours[own], tone)
            if np.count_nonzero(unlike) < _GLOVE * len(own):
                held[own[unlike]] = True
        return held


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What is known of one person's colours.

    Args:
        graph: of the body.
        colours: (T, 3) RGB.
        known: (T,) whether they are known.
        own: (T,) which known colours are of the part where they are.
        part: (V',) of each vertex.
    """

    graph: SurfaceFilling
    colours: ByteArray
    known: BoolArray
    own: BoolArray
    part: ByteArray

    @property
    def unseen(self) -> tuple[str, ...]:
        """The parts that the person has, but of which next to nothing is known."""
        own = self.part.take(self.graph.vertex)
        seen, whole = (np.bincount(each, minlength=len(PARTS)) for each in (own[self.own], own))
        least = [_LEAST_BOTTOM if row == _BOTTOM else _LEAST_SEEN for row in range(len(PARTS))]
        return tuple(name for row, name in enumerate(PARTS) if seen[row] < least[row] * whole[row])

    def filled(self, usual: Mapping[str, FloatArray]) -> ByteArray:
        """(T, 3) colours of all texels; those that are known stay.

        Args:
            usual: colours (3,) of the `unseen` parts, 0…255.
        """
        vertices, graph = self._diffused({PARTS.index(name): colour for name, colour in usual.items()}), self.graph
        # Here and below, products with a vector for each channel take half the time of one with three columns.
        filled = [graph.barycentric @ column for column in np.ascontiguousarray(vertices.T)]
        mixed, colours = self._mixed(vertices)
        at_corner = mixed[graph.triangles.T]
        border = np.flatnonzero(~self.known & (at_corner[0] | at_corner[1] | at_corner[2]).take(graph.triangle))
        of_parts = (graph.barycentric[border] @ colours).reshape(len(border), len(PARTS), 4)
        weights = np.ascontiguousarray(of_parts[..., 3]) ** (_SHARPNESS - 1)
        sums = np.einsum("tpc,tp->ct", of_parts, weights)
        for channel, column in enumerate(filled):
            column[border] = sums[channel] / sums[3]
        result = cv2.merge([cv2.convertScaleAbs(column[:, None]) for column in filled])
        whole = cv2.copyTo(self.colours[:, None], self.known[:, None].view(np.uint8), result)
        return np.asarray(whole[:, 0], np.uint8)

    def _mixed(self, colours: FloatArray) -> tuple[BoolArray, FloatArray]:
        """Which vertices (V',) have shares of several parts, and what all have of each.

        Args:
            colours: (V', 3) of the vertices, of the parts that they have alone.

        Returns:
            That, and (V', C · 4) a part's colour times its share, and the share.
        """
        graph, every = self.graph, np.arange(len(self.part))
        alone = np.zeros((len(every), len(PARTS), 4), np.float32)
        alone[every, self.part, :3], alone[every, self.part, 3] = colours, 1
        whole = alone.reshape(len(every), -1)
        differs = self.part[graph.rows] != self.part[graph.edges.indices]
        mixed = np.zeros(len(every), np.bool_)
        mixed[graph.rows[differs]] = True
        whole[mixed] = graph.smooth[mixed] @ whole
        own = every[mixed], self.part[mixed]
        alone[(*own, slice(3))] = colours[mixed] * alone[(*own, 3)][:, None]
        return np.asarray(mixed), whole

    def _diffused(self, usual: Mapping[int, FloatArray]) -> FloatArray:
        """(V', 3) colours of all vertices."""
        graph, part, count = self.graph, self.part, len(self.part)
        own, mirror = ~np.isin(part, list(usual)), graph.mirror
        texels = np.flatnonzero(self.own)
        vertex, colours = graph.vertex.take(texels), self.colours.take(texels, axis=0)
        number, mean = _means(vertex, colours, count)
        prior = self._prior(vertex, colours, usual)
        share = own * (number / np.maximum(graph.texels, 1)).astype(np.float32)
        seen = _SEEN * share
        mirrored = _MIRRORED * share[mirror] * (part[mirror] == part)
        same = (part[graph.rows] == part[graph.edges.indices]).astype(np.float32)
        edges = sparse.csr_matrix((same, graph.edges.indices, graph.edges.indptr), graph.edges.shape)
        degree = np.bincount(graph.rows, same, count).astype(np.float32)
        group = _GROUP * np.maximum(degree, 1)
        held = seen[:, None] * mean + mirrored[:, None] * mean[mirror] + group[:, None] * prior
        weight = (seen + mirrored + group)[:, None]
        whole, total = held / weight, weight + degree[:, None]
        free = np.flatnonzero(own & (share < 1))
        edges, held, total = edges[free], np.ascontiguousarray(held[free].T), total[free, 0]
        columns = np.ascontiguousarray(whole.T)
        for column, of_channel in zip(columns, held, strict=True):
            for _ in range(_ITERATIONS):
                column[free] = (of_channel + edges @ column) / total
        return np.ascontiguousarray(columns.T, np.float32)

    def _prior(self, vertex: IntArray, colours: ByteArray, usual: Mapping[int, FloatArray]) -> FloatArray:
        """(V', 3) the colour of the group of each vertex, from known texels (n,) and their colours (n, 3)."""
        group = (self.part.astype(np.int64) * len(_STEMS) + self.graph.stem).astype(np.uint8)
        of_texel = group.take(vertex)
        of_texel[self._hairline(vertex, colours)] = _NO_GROUP
        rows = np.argsort(of_texel, kind="stable")
        prior = np.zeros((len(PARTS), len(_STEMS), 3), np.float32)
        ends = np.cumsum(np.bincount(of_texel, minlength=_NO_GROUP)[: prior[..., 0].size]).reshape(prior.shape[:2])
        for part in range(len(PARTS)):
            first, last = (int(ends[part - 1, -1]) if part else 0), int(ends[part, -1])
            if part in usual or first == last:
                prior[part] = usual.get(part, 0)
                continue
            whole = _median(colours, rows[first:last])
            for stem, end in enumerate(ends[part]):
                own = rows[first:end]
                share = len(own) / (len(own) + _GROUP_TEXELS)
                prior[part, stem] = whole + share * (_median(colours, own) - whole) if len(own) else whole
                first = int(end)
        return np.asarray(prior.reshape(-1, 3)[group])

    def _hairline(self, vertex: IntArray, colours: ByteArray) -> IntArray:
        """Which of known texels (n,) with colours (n, 3) are of the half of the hair that is most like the skin."""
        part = self.part.take(vertex)
        skin, hair = (np.flatnonzero(part == PARTS.index(name)) for name in ("skin", "hair"))
        if not (len(skin) and len(hair)):
            return hair[:0]
        unlike = np.abs(colours.take(hair, axis=0) - _median(colours, skin)).sum(axis=1)
        return np.asarray(hair[unlike < np.median(unlike)])


def _unlike(colours: ByteArray, tone: FloatArray) -> BoolArray:
    """(n,) which of colours (n, 3) have not a tone (3,) in any light."""
    brightness, own = colours.sum(axis=1, dtype=np.float32) + 1, float(tone.sum()) + 1
    chroma = tone / own
    least = max(_OF_SATURATION * float(np.abs(chroma - 1 / 3).sum()), _LEAST_CHROMA)
    away = np.abs(colours / brightness[:, None] - chroma).sum(axis=1) > least
    return np.asarray(away | (brightness < _DARKER * own) | (brightness > _LIGHTER * own))


def _median(colours: ByteArray, rows: IntArray) -> FloatArray:
    """(3,) of some of colours (n, 3), by the rows (m,) that they are in."""
    return np.asarray(np.median(colours[rows[:: len(rows) // _SAMPLES + 1]], axis=0), np.float32)


def _means(index: IntArray, colours: ByteArray, count: int) -> tuple[FloatArray, FloatArray]:
    """How many colours (n, 3) there are of each index (count,), and their means (count, 3), 0 where there are none."""
    number = np.bincount(index, minlength=count).astype(np.float32)
    sums = [np.bincount(index, colours[:, channel], count) for channel in range(3)]
    return number, (np.stack(sums, axis=1) / np.maximum(number, 1)[:, None]).astype(np.float32)
