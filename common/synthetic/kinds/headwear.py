"""Headwear made to measure: the skin of the head, inflated and smoothed, with a brim or visor where the kind has one.

Shapes: V vertices of the body, N of a garment; heights on the head are −1 at the crown and 1 at the chin.
"""

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from common.arrays import FloatArray
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.body_garments import SkinBasis, fastened, grid_faces, inflated
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind

# Least and most thickness of each kind, metres, and how often it is smoothed.
_THICKNESS_M = {
    "cap": (0.015, 0.028),
    "helmet": (0.025, 0.05),
    "hat": (0.015, 0.03),
    "beanie": (0.012, 0.025),
    "hood": (0.02, 0.04),
    "scarf": (0.01, 0.02),
}
_SMOOTHINGS = {"cap": 6, "helmet": 20, "hat": 8, "beanie": 6, "hood": 8, "scarf": 4}
_BRIM_STEPS, _BRIM_RINGS = 24, 3
# Hoods and scarves leave the face free: this far to the sides, in head radii, and from this height.
_FACE_WIDTH = 0.62
_NECK = 0.93


def made_headwear(rng: Generator, skin: SkinBasis, value: str) -> list[Garment]:
    """One or two garments that together are headwear of a kind but `none`."""
    canvas = skin.canvas
    place = head_place(canvas, canvas.rest)
    level = _rim(rng, value, place)
    wraps = value in ("hood", "scarf")
    inside = (canvas.limb[:, 3] > 0.5) & (place[:, 1] < level)
    if wraps:
        neck = (canvas.limb[:, 3] <= 0.5) & (canvas.limb[:, 2] > _NECK) & (canvas.limb[:, 0] <= 0)
        face_top = rng.uniform(-0.62, -0.4)
        face = (place[:, 2] < -0.1) & (np.abs(place[:, 0]) < _FACE_WIDTH) & (place[:, 1] > face_top)
        inside = (inside | neck) & ~(face & (canvas.limb[:, 3] > 0.5))
    shell = _shell(skin, inside, value, rng.uniform(*_THICKNESS_M[value]))
    if value == "cap":
        return [shell, _brim(skin, rng, shell, width=rng.uniform(0.045, 0.075), half_angle=rng.uniform(0.7, 1.0))]
    if value == "hat" or (value == "helmet" and rng.random() < 0.25):
        return [shell, _brim(skin, rng, shell, width=rng.uniform(0.03, 0.11), half_angle=np.pi)]
    return [shell]


def beneath(hair: Garment, canvas: Canvas, value: str) -> Garment:
    """Hair under headwear: without what would be inside it."""
    place = head_place(canvas, hair.rest)
    level = np.where(place[:, 2] < 0, -0.35, 0.05) if value in ("cap", "hat") else 0.25
    kept = hair.faces[(place[:, 1] > level)[hair.faces].all(axis=1)]
    return replace(hair, faces=kept)


def head_place(canvas: Canvas, rest: FloatArray) -> FloatArray:
    """(N, 3) positions around the centre of the head, in its radii."""
    return np.asarray((rest - canvas.face[3]) / canvas.head_radius, np.float32)


def _rim(rng: Generator, value: str, place: FloatArray) -> FloatArray:
    """(V,) the height to which headwear reaches, by the place on the head."""
    front, back = {
        "cap": (rng.uniform(-0.5, -0.3), rng.uniform(-0.1, 0.2)),
        "helmet": (rng.uniform(-0.5, -0.3), rng.uniform(0.1, 0.7)),
        "hat": (rng.uniform(-0.5, -0.3), rng.uniform(-0.3, 0.0)),
        "beanie": (rng.uniform(-0.55, -0.3), rng.uniform(0.0, 0.4)),
        "hood": (2.0, 2.0),
        "scarf": (2.0, 2.0),
    }[value]
    return np.asarray(np.interp(place[:, 2], [-0.8, -0.2, 0.5], [front, (front + back) / 2, back]), np.float32)


def _shell(skin: SkinBasis, inside: np.ndarray[tuple[int], np.dtype[np.bool_]], value: str, height_m: float) -> Garment:
    canvas = skin.canvas
    faces = canvas.faces[inside[canvas.faces].all(axis=1)]
    used, compact = np.unique(faces, return_inverse=True)
    faces = compact.reshape(-1, 3)
    surface = inflated(canvas.rest[used], faces, height_m, 0.6 * height_m, _SMOOTHINGS[value])
    return fastened(skin, f"made_{value}", Kind.HAT, used, surface, faces)


def _brim(skin: SkinBasis, rng: Generator, shell: Garment, width: float, half_angle: float) -> Garment:
    """A part of a ring around the front of the shell's rim."""
    canvas = skin.canvas
    angles = np.linspace(-half_angle, half_angle, _BRIM_STEPS)
    place = head_place(canvas, shell.rest)
    around = np.arctan2(place[:, 0], -place[:, 2])
    droop = rng.uniform(-0.05, 0.35)
    rows = []
    for angle in angles:
        near = np.abs(np.angle(np.exp(1j * (around - angle)))) < 0.3
        rim = shell.rest[near][np.argmax(shell.rest[near, 1])]
        outward = np.array([np.sin(angle), droop, -np.cos(angle)], np.float32)
        rows.append([rim + outward * width * ring / (_BRIM_RINGS - 1) for ring in range(_BRIM_RINGS)])
    rest = np.asarray(rows, np.float32).reshape(-1, 3)
    faces = grid_faces(_BRIM_STEPS, _BRIM_RINGS, closed=False)
    head = np.flatnonzero(canvas.limb[:, 3] > 0.5)
    nearest = head[cKDTree(canvas.rest[head]).query(shell.rest.mean(axis=0))[1]]
    return fastened(skin, "made_brim", Kind.HAT, np.full(len(rest), nearest), rest, faces)
