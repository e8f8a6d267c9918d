"""Joins the charts of an estimated atlas where they meet on the body.

A network that reads an atlas as an image does not know which texels are neighbours across the cuts of the unfolded
skin, and its estimates differ there: a line down the back.  The joined colours c are those that minimise

    Σ ((c_i − c_j) − (e_i − e_j))² + Σ w (c_i − c_j)² + a Σ (c_i − e_i)² + b Σ (c_i − k_i)²

over the neighbours in the atlas, the neighbours across cuts, all texels, and the texels whose colour k is known: a
screened Poisson equation (Pérez et al. 2003, "Poisson image editing"; Bhat et al. 2008).  The estimate e keeps its
gradients, and its corrections fade over 1 / √a texels.  Clothes end at some cuts, so a large step of the estimate
weighs little: w ~ 1 / (1 + (step / τ)²), the weights of a Cauchy loss.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.texture.atlas import AtlasLayout

# The weights a and b, the sum of w around a texel without steps, and τ in 0…255.  Chosen on validation people.
_ESTIMATE_WEIGHT = 0.05
_KNOWN_WEIGHT = 0.05
_CUT_WEIGHT = 4.0
_STEP = 20.0
# Texels that are as near as this in the atlas are no neighbours across a cut.
_SAME_CHART = 2


class ChartJoiner:
    """The neighbours of a small atlas; may be used by several threads.

    Args:
        skin: (s, s) whether a texel shows skin.
        cuts: (n, 2) flat indices of texels that are neighbours across a cut.
    """

    def __init__(self, skin: BoolArray, cuts: IntArray) -> None:
        self._skin = np.flatnonzero(skin)
        position = np.full(skin.size, -1)
        position[self._skin] = np.arange(len(self._skin))
        flat = np.arange(skin.size).reshape(skin.shape)
        beside = np.concatenate(
            [
                np.stack([flat[:, :-1], flat[:, 1:]], axis=-1)[skin[:, :-1] & skin[:, 1:]],
                np.stack([flat[:-1], flat[1:]], axis=-1)[skin[:-1] & skin[1:]],
            ]
        )
        self._steps = _incidence(position[cuts], len(self._skin))
        many = np.bincount(cuts.reshape(-1), minlength=skin.size)
        self._weight = _CUT_WEIGHT / np.maximum(many[cuts[:, 0]], many[cuts[:, 1]])
        beside_steps = _incidence(position[beside], len(self._skin))
        kept = sparse.diags_array(np.full(len(self._skin), _ESTIMATE_WEIGHT))
        self._system = beside_steps.T @ beside_steps + kept

    def joined(self, estimate: FloatArray, colours: ByteArray, known: BoolArray) -> FloatArray:
        """(s, s, 3) the estimate with its charts joined to each other and to what is known; no change beyond the skin.

        Args:
            estimate: (s, s, 3) 0…255.
            colours: (s, s, 3) 0…255.
            known: (s, s) the texels whose colours are known.
        """
        estimated = estimate.reshape(-1, 3)[self._skin].astype(np.float64)
        step = np.abs(self._steps @ estimated).mean(axis=1)
        across = self._steps.T @ sparse.diags_array(self._weight / (1 + (step / _STEP) ** 2)) @ self._steps
        weight = _KNOWN_WEIGHT * known.reshape(-1)[self._skin]
        lacking = weight[:, None] * (colours.reshape(-1, 3)[self._skin] - estimated) - across @ estimated
        # Symmetric and positive definite.
        factors = splu(
            (self._system + across + sparse.diags_array(weight)).tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        whole = estimate.reshape(-1, 3).astype(np.float32)
        whole[self._skin] += factors.solve(lacking)
        return whole.reshape(estimate.shape)


def cuts_of(layout: AtlasLayout, scale: int) -> IntArray:
    """(n, 2) small texels that show the surroundings of the same vertex, but are apart in the atlas: flat indices.

    Args:
        scale: texels of the layout along a side of a small one.
    """
    size = len(layout.nearest) // scale
    vertex = layout.closest_vertex
    shows = sparse.csr_array(
        (np.ones(len(vertex)), (vertex, layout.squares(scale))), shape=(vertex.max() + 1, size * size)
    )
    pairs = np.stack(sparse.triu(shows.T @ shows, k=1).nonzero(), axis=1).astype(np.int64)
    apart = np.abs(pairs[:, 0] // size - pairs[:, 1] // size), np.abs(pairs[:, 0] % size - pairs[:, 1] % size)
    cuts: IntArray = pairs[np.maximum(*apart) > _SAME_CHART]
    return cuts


def _incidence(edges: IntArray, count: int) -> sparse.csr_array:
    """(n, count) the differences along edges (n, 2)."""
    number = np.arange(len(edges)).repeat(2)
    sign = np.tile([1.0, -1.0], len(edges))
    return sparse.csr_array((sign, (number, edges.reshape(-1))), shape=(len(edges), count))
