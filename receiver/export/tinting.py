"""Changes the colours of parts of a character: `top=#336699`.

A part of the outfit (`receiver.export.dressing.worn_parts`) gets the new colour as its mean, in CIELAB.  Its shading
remains: how much lighter or darker a place is than the part's mean, and chroma that grows with lightness as under any
light.  Its pattern remains as differences of chroma.  Colours outside of sRGB lose chroma, not lightness, so that the
order of lightness is kept.

Shapes: V' vertices of the template, N colours, P parts.
"""

import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from skimage.color import lab2rgb, rgb2lab

from common.arrays import ByteArray, Float64Array, FloatArray, IntArray
from common.errors import UsageError
from common.texture.atlas import AtlasLayout, sample
from receiver.export.character import Character
from receiver.export.skin_weights import load_body_skin
from receiver.mesh.mesh_texture import decode_jpeg, encode_jpeg
from receiver.outfits.dressing import PARTS

_TINT = re.compile(r"([a-z]+)=#([0-9a-fA-F]{6})", re.ASCII)
# Contrast of a dark part that becomes a light one: more would show the noise of the camera.
_MOST_CONTRAST = 1.5
# How far towards white the lightest places of a part may come.
_LIGHTEST = 0.6
_CHROMA_STEPS = 8
_FORMATTED = f"give PART=#RRGGBB, for example top=#336699; the parts are {', '.join(PARTS)}"

Tints = Mapping[str, tuple[int, int, int]]
"""sRGB by part."""


def parse_tints(texts: Sequence[str]) -> Tints:
    """Of texts such as `top=#336699`. Raises ValueError if a text is something else, or a part is named twice."""
    tints: dict[str, tuple[int, int, int]] = {}
    for text in texts:
        found = _TINT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no colour of a part: {_FORMATTED}")
        part, code = found.groups()
        if part not in PARTS:
            raise ValueError(f"{part!r} is no part: {_FORMATTED}")
        if part in tints:
            raise ValueError(f"{part} is coloured twice: give each part once")
        red, green, blue = bytes.fromhex(code)
        tints[part] = (red, green, blue)
    return tints


def tinted(character: Character, tints: Tints, worn: IntArray) -> Character:
    """The character, of the body model's body, with other colours.

    Args:
        worn: (V',) the part that each vertex of the template is of, index into `PARTS`.

    Raises:
        UsageError: it has no colours, or as `repainted`.
    """
    if character.mesh.colours is None:
        raise UsageError(f"--tint: person {character.identity} was recorded without colours")
    # What lines the mouth and the eyes keeps its colours.
    shares = np.eye(len(PARTS), dtype=np.float32)[worn] * load_body_skin()[1].template.outside[:, None]

    def paint(colours: ByteArray, places: IntArray, weights: FloatArray) -> ByteArray:
        share = np.einsum("nc,ncp->np", weights, shares[places]).astype(np.float64)
        after = colours.astype(np.float64)
        for part, rgb in tints.items():
            own = share[:, PARTS.index(part)]
            touched = own > 0
            if touched.any():
                shift = _in_colour(colours[touched], own[touched], rgb) - colours[touched]
                after[touched] += own[touched, None] * shift
        return np.rint(after).clip(0, 255).astype(np.uint8)

    return repainted(character, paint)


def repainted(character: Character, paint: Callable[[ByteArray, IntArray, FloatArray], ByteArray]) -> Character:
    """A character, of the body model's body and with colours, whose colours are painted.

    Args:
        paint: is called with colours (N, 3), the vertices of the template (N, C) that each lies between, and how near
            each of these is (N, C); returns other colours (N, 3).

    Raises:
        UsageError: the texture is another atlas than ours.
    """
    mesh, texture, layout = character.mesh, character.texture, atlas_layout()
    assert mesh.colours is not None
    if texture is None:
        places = np.arange(len(mesh.vertices))[:, None]
        colours = paint(mesh.colours, places, np.ones(places.shape, np.float32))
        return dataclasses.replace(character, mesh=dataclasses.replace(mesh, colours=colours))
    atlas = decode_jpeg(texture.jpeg)
    if atlas.shape[:2] != layout.nearest.shape:
        raise UsageError(f"the texture of person {character.identity} is of another version: its colours stay")
    place = load_body_skin()[1].template.place[layout.corners].astype(np.int64)
    shown = (place >= 0).all(axis=1)
    texels, index = atlas.reshape(-1, 3), layout.texel[shown]
    texels[index] = paint(texels[index], place[shown], layout.barycentric[shown])
    atlas = layout.extended(atlas)
    colours = np.rint(sample(atlas, texture.corners.coordinates[: len(mesh.vertices)])).astype(np.uint8)
    return dataclasses.replace(
        character,
        mesh=dataclasses.replace(mesh, colours=colours),
        texture=dataclasses.replace(texture, jpeg=encode_jpeg(atlas)),
    )


@functools.cache
def atlas_layout() -> AtlasLayout:
    """Where the texels are on the body model."""
    return AtlasLayout.from_body(load_body_skin()[0])


def _in_colour(colours: ByteArray, share: Float64Array, rgb: tuple[int, int, int]) -> Float64Array:
    """(n, 3) sRGB of a part, 0…255, in another colour; its mean is weighted with the share (n,) of each place."""
    lab, wanted = rgb2lab(colours), rgb2lab(np.array(rgb, np.uint8))
    mean = np.average(lab, axis=0, weights=share)
    contrast = min(wanted[0] / max(mean[0], 1.0), _MOST_CONTRAST)
    lightness = wanted[0] + _limited(contrast * (lab[:, 0] - mean[0]), wanted[0], _LIGHTEST * (100 - wanted[0]))
    shading = (lightness / max(wanted[0], 1.0))[:, None]
    pattern = lab[:, 1:] - mean[1:] * (lab[:, :1] / max(mean[0], 1.0))
    return _within_srgb(np.column_stack([lightness, wanted[1:] * shading + pattern]))


def _limited(difference: Float64Array, most_below: float, most_above: float) -> Float64Array:
    """Differences (n,) that approach limits, in the same order."""
    most = np.maximum(np.where(difference < 0, most_below, most_above), 1e-6)
    return np.asarray(most * np.tanh(difference / most), np.float64)


def _within_srgb(lab: Float64Array) -> Float64Array:
    """(n, 3) sRGB, 0…255, of CIELAB colours, with as much of their chroma as sRGB has; found by bisection."""
    low, high = np.zeros((len(lab), 1)), np.ones((len(lab), 1))
    trial = high
    with warnings.catch_warnings():
        # Colours that no light has are tried, too.
        warnings.filterwarnings("ignore", message="Conversion from CIE-LAB")
        for _ in range(_CHROMA_STEPS):
            candidate = np.hstack([lab[:, :1], lab[:, 1:] * trial])
            fits = (np.abs(rgb2lab(lab2rgb(candidate)) - candidate).max(axis=1, keepdims=True) < 0.5) | (trial == 0)
            low, high = np.where(fits, trial, low), np.where(fits, high, trial)
            trial = (low + high) / 2
        return 255 * np.asarray(lab2rgb(np.hstack([lab[:, :1], lab[:, 1:] * low])), np.float64)
