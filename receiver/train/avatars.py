"""Hair and shoes of clothed avatars, aligned to the template: Microsoft Rocketbox (MIT licence), `NAME.npz` with bones.

Heads are aligned by their eyes and noses, shoes by the length and the direction of the foot.

Shapes: V' vertices of the template, N points, F triangles.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.arrays import Float64Array, IntArray
from common.errors import SourceError

# From the avatars' axes (y up, facing +z) to a camera's.
_AXES = np.array([1.0, -1.0, -1.0])
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Avatar:
    """One avatar, in camera axes, standing on y = 0.

    Args:
        attributes: what it wears, judged by eye; values of `common.wear_kinds`.
        points: (N, 3) metres.
        faces: (F, 3).
        bone: (N,) name of the bone that moves each point most.
        joints: bone → (3,) where it begins.
    """

    name: str
    attributes: dict[str, str]
    points: Float64Array
    faces: IntArray
    bone: "np.ndarray[tuple[int], np.dtype[np.str_]]"
    joints: dict[str, Float64Array]

    def triangles(self, *bones: str) -> Float64Array:
        """(n, 3, 3) the corners of the triangles that these bones move."""
        return np.asarray(self.points[self.faces[np.isin(self.bone[self.faces], bones).all(axis=1)]])


def read_avatars(folder: Path) -> Iterator[Avatar]:
    """The avatars of a folder with an `index.json`. Raises SourceError if it is missing or unreadable."""
    try:
        for entry in json.loads((folder / "index.json").read_text(encoding="utf-8"))["avatars"]:
            with np.load(folder / entry["file"]) as stored:
                names = stored["bone_names"]
                strongest = np.take_along_axis(stored["skin_index"], stored["skin_weight"].argmax(1)[:, None], 1)[:, 0]
                yield Avatar(
                    entry["name"],
                    entry["attributes"],
                    stored["vertices"].astype(np.float64) * _AXES,
                    stored["faces"].astype(np.int64),
                    names[strongest],
                    dict(zip(names.tolist(), stored["bone_rest"][:, :3, 3].astype(np.float64) * _AXES, strict=True)),
                )
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{folder} is no folder of avatars: {error}") from error


# Shoes are so much longer than the foot, reach so far behind it, and have soles so thick; so high up they are shoes.
_LONGER, _BEHIND_M, _SOLE_M, _SHOE_M = 1.12, 0.008, 0.012, 0.085
# A nose is so near to the middle, and so far below the eyes.
_NOSE_M = (0.02, 0.07)
_HEAD, _EYES, _SHOE = "Bip01 Head", ("Bip01 LEye", "Bip01 REye"), ("Bip01 L Foot", "Bip01 L Toe0")


def has_eyes(avatar: Avatar) -> bool:
    """Whether its head can be aligned."""
    return all(name in avatar.joints for name in (_HEAD, *_EYES))


def aligned_head(avatar: Avatar, eyes: Float64Array, nose_m: float) -> Float64Array:
    """(n, 3, 3) triangles of the head; the middle of its eyes (3,) and the tip of its nose are in given places."""
    eyes_m = np.mean([avatar.joints[name] for name in _EYES], axis=0)
    bones = [name for name, joint in avatar.joints.items() if name == _HEAD or joint[1] < avatar.joints[_HEAD][1]]
    triangles = avatar.triangles(*bones)
    offset = triangles.reshape(-1, 3) - eyes_m
    nose = (np.abs(offset[:, 0]) < _NOSE_M[0]) & (offset[:, 1] > 0) & (offset[:, 1] < _NOSE_M[1])
    forward_m = nose_m - (eyes_m[2] + offset[nose, 2].min())
    return np.asarray(triangles + np.array([0, eyes[1] - eyes_m[1], forward_m]))


def aligned_shoe(avatar: Avatar, foot: Float64Array) -> Float64Array:
    """(n, 3) points of the left shoe, around a left foot (N, 3)."""
    ahead = _direction(foot)
    points = avatar.triangles(*_SHOE).reshape(-1, 3)
    turn = np.arctan2(*ahead) - np.arctan2(*_direction(points))
    cosine, sine = np.cos(turn), np.sin(turn)
    points = points @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    along, aside = np.array([ahead[0], 0, ahead[1]]), np.array([-ahead[1], 0, ahead[0]])
    points = points * (_LONGER * np.ptp(foot @ along) / np.ptp(points @ along))
    points = points[points[:, 1] > points[:, 1].max() - _SHOE_M]
    points += along * ((foot @ along).min() - _BEHIND_M - (points @ along).min())
    points += aside * (np.median(foot @ aside) - np.median(points @ aside))
    points[:, 1] += foot[:, 1].max() + _SOLE_M - points[:, 1].max()
    return np.asarray(points, np.float64)


def _direction(foot: Float64Array) -> Float64Array:
    """(2,) horizontal unit vector, x and z, from heel to toes."""
    flat = foot[:, [0, 2]] - foot[:, [0, 2]].mean(0)
    longest = np.linalg.eigh(flat.T @ flat)[1][:, 1]
    return np.asarray(longest * -np.sign(longest[1]))


def reach(origins: Float64Array, directions: Float64Array, triangles: Float64Array) -> Float64Array:
    """(N,) how far rays go until they leave triangles (n, 3, 3) for the last time, in lengths of their direction; 0 if
    they meet none.

    Möller and Trumbore, Fast, Minimum Storage Ray/Triangle Intersection (1997).
    """
    corner, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    found = np.zeros(len(origins))
    for start in range(0, len(origins), _CHUNK):
        rows = slice(start, start + _CHUNK)
        across = np.cross(directions[rows, None], second[None])
        determinant = np.einsum("rtd,td->rt", across, first)
        safe = np.where(np.abs(determinant) < 1e-14, np.inf, determinant)
        offset = origins[rows, None] - corner[None]
        u = np.einsum("rtd,rtd->rt", offset, across) / safe
        turned = np.cross(offset, first[None])
        v = np.einsum("rd,rtd->rt", directions[rows], turned) / safe
        length = np.einsum("rtd,td->rt", turned, second) / safe
        met = (u >= 0) & (v >= 0) & (u + v <= 1) & (length > 0) & np.isfinite(safe)
        found[rows] = np.where(met, length, 0).max(axis=1)
    return found
