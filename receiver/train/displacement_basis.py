"""Fits the tokens and bases of `receiver.diffusion.displacement_basis` to the displacement fields of many outfits.

Shapes: n outfits, V vertices of the template, T = 256 tokens, M vertices of a token, K coefficients.
"""

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray, IntArray
from common.training.surface_points import halved
from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS, DisplacementBasis

# Least standard deviation of a coefficient: skin that no garment covers keeps still, and division stays finite.
_MIN_SCALE_M = 0.0005


def token_members(rest_V3: FloatArray) -> IntArray:
    """(T, M) vertices of each token, padded with V: the template is halved along its longest side, and so on.

    Args:
        rest_V3: the template at rest with its limbs apart, metres.
    """
    leaves = halved(rest_V3.astype(np.float64), np.arange(len(rest_V3)), DISPLACEMENT_TOKENS)
    tokens = [np.sort(leaf) for leaf in leaves]
    width = max(len(token) for token in tokens)
    members = np.full((len(tokens), width), len(rest_V3), dtype=np.int64)
    for row, token in enumerate(tokens):
        members[row, : len(token)] = token
    return members


def covering_patch(rest_V3: FloatArray, members_TM: IntArray, patches_N3: FloatArray) -> IntArray:
    """(T,) the patch whose centre (N, 3) is nearest to the centre of each token."""
    padded = np.vstack([rest_V3, np.full((1, 3), np.nan, np.float32)])
    centres = np.nanmean(padded[members_TM], axis=1)
    return np.asarray(np.linalg.norm(centres[:, None] - patches_N3, axis=-1).argmin(axis=1), np.int64)


def fit_basis(fields_nV3: Tensor, members_TM: IntArray, patch_T: IntArray) -> DisplacementBasis:
    """Principal components of each token over n outfits.

    Args:
        fields_nV3: displacements, metres; n must be above K.
        members_TM: of `token_members`.
        patch_T: of `covering_patch`.

    Raises:
        ValueError: there are too few outfits.
    """
    if len(fields_nV3) <= COEFFICIENTS:
        raise ValueError(f"a basis of {COEFFICIENTS} coefficients needs more outfits than that, got {len(fields_nV3)}")
    members = torch.from_numpy(members_TM)
    mean = fields_nV3.mean(0)
    centred = torch.nn.functional.pad(fields_nV3 - mean, (0, 0, 0, 1))
    bases, scales = [], []
    for token in members:
        patches = centred[:, token].flatten(1).double()
        values, vectors = torch.linalg.eigh(patches.mT @ patches / len(patches))
        bases.append(vectors.flip(1)[:, :COEFFICIENTS].mT.float())
        scales.append(values.flip(0)[:COEFFICIENTS].clamp_min(0).sqrt().float())
    scale = torch.stack(scales).clamp_min(_MIN_SCALE_M)
    return DisplacementBasis(members, mean, torch.stack(bases), scale, torch.from_numpy(patch_T))
